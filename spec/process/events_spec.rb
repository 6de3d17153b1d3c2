# frozen_string_literal: true

RSpec.describe "Events" do
  let(:app) { File.expand_path("../support/poison_app.rb", __dir__) }

  def told(list)
    redis.lrange("told:#{list}", 0, -1).map { |what| JSON.parse(what) }
  end

  it "tell of each job of a killed process, and of the process" do
    victim = start_sidekiq(app:)
    jid = push("AssuredJob", "a", 60)
    wait_until("it runs") { started.key?("a") }
    id = registered.first
    other = start_sidekiq(app:, args: ["-q", "other"])
    wait_until("the other one has seen a heartbeat") { other.log.include?("started") && registered.size == 2 }
    victim.kill

    wait_until("both events came") { told("event:recovered").any? && told("event:instance_died").any? }
    expect(told("event:recovered").flatten).to contain_exactly(
      include("job_class" => "AssuredJob", "jid" => jid, "queue" => "default", "attempt" => 1, "instance_id" => id,
              "seconds_since_beat" => be_between(1.5, 30))
    )
    expect(told("event:instance_died").flatten).to contain_exactly(
      include("instance_id" => id, "job_class" => nil, "seconds_since_beat" => be_between(1.5, 30))
    )
    expect(other.log).to match(
      /recovered job_class=AssuredJob jid=#{jid} queue=default attempt=1 instance_id=\S+ seconds_since_beat=\d+\.\d+$/
    )
    wait_until("it is counted") { Sidekiq::AssuredJobs.stats[:instances_died] == 1 }
    expect(Sidekiq::AssuredJobs.stats).to include(recovered: 1, lease_lost: 0)
  end

  it "tell a process that was stopped for too long which jobs it has lost" do
    stopped = start_sidekiq(app:)
    jid = push("AssuredJob", "a", 60)
    wait_until("it runs") { started.key?("a") }
    start_sidekiq(app:, args: ["-q", "other"])
    stopped.signal(:STOP)
    wait_until("its job is recovered") { queued.any? }
    stopped.signal(:CONT)

    wait_until("it knows") { told("event:lease_lost").any? }
    expect(told("event:lease_lost").flatten).to contain_exactly(
      include("job_class" => "AssuredJob", "jid" => jid, "attempt" => 1)
    )
    wait_until("it is counted") { Sidekiq::AssuredJobs.stats[:lease_lost] == 1 }
  end

  it "show hostile texts in one line of the log" do
    event = Sidekiq::AssuredJobs::Event.new(name: :recovered, jid: "a\njid=b", job_class: "A b", attempt: 1)
    expect(event.to_s).to eq('recovered job_class="A b" jid="a\njid=b" attempt=1')
  end

  it "are dropped and counted where their handlers are too slow, and no job is" do
    stub_const("Sidekiq::AssuredJobs::Callbacks::CAPACITY", 5)
    seed_orphans("dead", payloads((1..50).map(&:to_s)))
    release = Thread::Queue.new
    with_handler(:recovered, -> { release.pop }) do
      expect(Sidekiq::AssuredJobs.reenqueue_orphans!).to eq(50)
    end

    expect(redis.llen("queue:default")).to eq(50)
    wait_until("what was dropped is counted") { Sidekiq::AssuredJobs.stats[:events_dropped].between?(40, 46) }
    expect(Sidekiq::AssuredJobs.stats[:recovered]).to eq(50)
  ensure
    release&.close
  end

  # The configuration is the process's own.
  def with_handler(name, handler)
    before = Sidekiq::AssuredJobs.configuration
    Sidekiq::AssuredJobs.configure { |config| config.on(name) { |_event| handler.call } }
    yield
  ensure
    Sidekiq::AssuredJobs.instance_variable_set(:@configuration, before)
  end
end
