# frozen_string_literal: true

RSpec.describe "An ActiveJob class with the mixin" do
  before(:context) { skip "ActiveJob is not in the bundle" unless Gem.loaded_specs.key?("activejob") }

  let(:app) { File.expand_path("../support/active_job_app.rb", __dir__) }

  # Enqueues in a process of its own, as an application does, through ActiveJob.
  def enqueue(ruby, env: {})
    output = run_ruby("ENV.update(#{env}); require #{app.inspect}; #{ruby}; puts 'enqueued'")
    raise output unless output.end_with?("enqueued\n")
  end

  # @return [SidekiqProcess] in which the job is running when it is killed
  def kill_while_it_runs(key, **options)
    redis.set("hold", 1)
    victim = start_sidekiq(app:, **options)
    yield
    wait_until("#{key} runs\n#{victim.log}") { started.key?(key) }
    wait_until("it is in flight") { in_flight.size == 1 }
    victim.kill
    redis.del("hold")
  end

  ways_in = { "assured fetch" => {}, "the middleware" => { "ASSURED_JOBS_FETCH" => "false" } }
  options = { "as it is" => {}, "with Sidekiq's options" => { "SPEC_OPTIONS" => "1" } }

  ways_in.each do |way, way_env|
    options.each do |how, options_env|
      %w[InheritingJob DirectJob].each do |job_class|
        it "comes back after a kill (#{job_class}, #{how}, tracked by #{way})" do
          env = way_env.merge(options_env)
          kill_while_it_runs("a", env:) { enqueue("#{job_class}.perform_later('a')", env:) }
          start_sidekiq(app:, env:)

          wait_until("it is finished") { finished == { "a" => 1 } }
          expect(started).to eq("a" => 2)
          wait_until("nothing is in flight") { in_flight.empty? }
        end
      end
    end
  end

  it "keeps its arguments when it is recovered, and carries the count of recoveries" do
    arguments = "'a', { at: Time.utc(2026, 1, 2, 3, 4, 5), big: 12345678901234567890123, nothing: [] }"
    redis.set("hold", 1)
    victim = start_sidekiq(app:)
    enqueue("InheritingJob.set(queue: 'parked').perform_later(#{arguments})")
    pushed = queued("parked").first
    # It is popped as if it were a job of the queue that the process works on.
    redis.rename("queue:parked", "queue:default")
    wait_until("it runs") { started.key?("a") }
    victim.kill
    start_sidekiq(app:, args: ["-q", "other"])

    # Where it came from, whatever its payload names.
    recovered = wait_until("it is queued") { queued("default").first }
    expect(recovered.slice("args", "wrapped", "class", "jid")).to eq(pushed.slice("args", "wrapped", "class", "jid"))
    expect(recovered).to include("assured_recoveries" => 1, "assured_jobs" => true, "wrapped" => "InheritingJob")
    redis.del("hold")
    start_sidekiq(app:)
    wait_until("it is finished") { finished == { "a" => 1 } }
  end

  it "comes back when it was scheduled" do
    env = { "SPEC_POLL" => "0.5" }
    kill_while_it_runs("a", env:) { enqueue("InheritingJob.set(wait: 1.second).perform_later('a')") }
    expect(redis.zcard("schedule")).to eq(0)
    start_sidekiq(app:)

    wait_until("it is finished") { finished == { "a" => 1 } }
    expect(started).to eq("a" => 2)
  end

  it "comes back in the middle of its retries, and counts on" do
    env = { "SPEC_POLL" => "0.5" }
    kill_while_it_runs("a", env:) { enqueue("RetriedJob.perform_later('a')") }
    start_sidekiq(app:, env:)

    wait_until("it is finished") { finished == { "a" => 1 } }
    # The run that was killed, and three that ActiveJob counts.
    expect(started).to eq("a" => 4)
    wait_until("nothing is left") { in_flight.empty? && redis.zcard("retry").zero? && redis.zcard("schedule").zero? }
  end

  it "is discarded once it has come back" do
    kill_while_it_runs("a") { enqueue("DiscardedJob.perform_later('a')") }
    start_sidekiq(app:)

    wait_until("it is discarded") { redis.hget("journal:discarded", "a") == "1" }
    wait_until("nothing is left") { in_flight.empty? && redis.zcard("retry").zero? && redis.zcard("dead").zero? }
    expect(started).to eq("a" => 2)
  end

  it "leaves a class without the mixin alone" do
    redis.set("hold", 1)
    start_sidekiq(app:)
    enqueue("UnassuredJob.perform_later('a')")
    wait_until("it runs") { started.key?("a") }

    expect(in_flight).to be_empty
    redis.del("hold")
    wait_until("it is finished") { finished.key?("a") }
  end
end
