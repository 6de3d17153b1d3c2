# frozen_string_literal: true

require_relative "../support/fault_proxy"

RSpec.describe "Jobs that kill their process" do
  let(:app) { File.expand_path("../support/poison_app.rb", __dir__) }

  # Nobody works on the queue of the jobs that are seeded, unless an example says so.
  def start_recoverer(args: ["-q", "other"], **options)
    start_sidekiq(app:, args:, **options)
  end

  def told(list)
    redis.lrange("told:#{list}", 0, -1).map { |what| JSON.parse(what) }
  end

  def dead
    redis.zrange("dead", 0, -1).map { |payload| JSON.parse(payload) }
  end

  # Runs one process after the other, as a supervisor does, until the job is dead.
  def restart_until_dead(**options)
    process = nil
    wait_until("the job is dead", within: 90) do
      process = spawn_sidekiq(app:, args: ["-c", "1"], **options) unless process&.alive?
      redis.zcard("dead") == 1
    end
    wait_until("its handlers were called") { told("dead").any? }
  end

  # A jid, recovered as often as it may be.
  def doomed(jids = %w[j], job_class: "KillingJob", **changes)
    orphans = payloads(jids, job_class:, args: ->(jid) { [jid] })
    orphans.transform_values do |payload|
      JSON.generate(JSON.parse(payload).merge("assured_recoveries" => 3, **changes.transform_keys(&:to_s)))
    end
  end

  it "run max_recoveries + 1 times, then lie in the Dead set and say why" do
    jid = push("KillingJob", "poison")
    restart_until_dead

    expect(started).to eq("poison" => 4)
    expect(dead).to contain_exactly(
      include("jid" => jid, "error_class" => "Sidekiq::AssuredJobs::PoisonJob", "failed_at" => be_a(Numeric),
              "error_message" => match(/\A4 instances died.* may be recovered 3 times/))
    )
    expect(dead.first).not_to have_key("assured_recoveries")
    expect(redis.zscore("dead", redis.zrange("dead", 0, 0).first)).to be_within(90).of(Time.now.to_f)
    expect(Sidekiq::AssuredJobs.stats).to include(recovered: 3, poisoned: 1)
    expect(redis.keys(key("job*"))).to be_empty
  end

  it "keep to the limit of their class, also where the middleware tracks them" do
    push("ImpatientKillingJob", "poison", assured_max_recoveries: 1)
    restart_until_dead(env: { "ASSURED_JOBS_FETCH" => "false" })

    expect(started).to eq("poison" => 2)
  end

  it "carry the limit of their class in the payload" do
    klass = Class.new { include Sidekiq::Job }.tap { |job| job.sidekiq_options assured_max_recoveries: 1 }
    stub_const("LimitedJob", klass)
    LimitedJob.perform_async

    expect(queued.first).to include("assured_max_recoveries" => 1)
  end

  it "keep to the setting" do
    seed_orphans("dead", doomed(assured_recoveries: 1))
    start_recoverer(env: { "ASSURED_JOBS_MAX_RECOVERIES" => "1" })

    wait_until("it is dead") { redis.zcard("dead") == 1 }
    expect(redis.llen("queue:default")).to eq(0)
  end

  it "are told to the exhausted block, to death handlers, to event handlers and to subscribers; those may raise" do
    seed_orphans("dead", doomed)
    process = start_recoverer

    wait_until("the death handlers were called") { told("dead").any? }
    wait_until("the event handlers were called") { told("event:instance_died").any? && told("event:poisoned").any? }
    expect(told("exhausted")).to contain_exactly(["j", "Sidekiq::AssuredJobs::PoisonJob", /4 instances died/])
    expect(told("dead")).to contain_exactly(["j", *["Sidekiq::AssuredJobs::PoisonJob"] * 2])
    expect(told("event:poisoned").flatten).to contain_exactly(
      include("job_class" => "KillingJob", "jid" => "j", "queue" => "default", "attempt" => 4,
              "instance_id" => "dead", "reason" => /4 instances died/)
    )
    expect(process.log).to include("the first death handler is out of order", "the first handler is out of order")
    expect(process.log).to match(/poisoned job_class=KillingJob jid=j queue=default attempt=4 instance_id=dead /)
  end

  it "are ActiveSupport notifications where that library is loaded" do
    paths = active_support_paths or skip "ruby-activesupport is not installed"
    seed_orphans("dead", doomed.merge(payloads(%w[other])))
    process = start_recoverer(env: { "SPEC_ACTIVE_SUPPORT" => paths.join(":") })

    names = %w[instance_died poisoned recovered].map { |name| "#{name}.sidekiq_assured_jobs" }
    wait_until("three are notified") { told("notified").map(&:first).sort == names }
    expect(told("notified").to_h["recovered.sidekiq_assured_jobs"]).to include("jid" => "other", "attempt" => 1)
    expect(process.log).to include("the subscriber is out of order")
  end

  # Bundler hides what is not in the bundle.
  def active_support_paths
    names = %w[activesupport concurrent-ruby i18n tzinfo]
    script = "puts ARGV.map { |name| Gem::Specification.find_by_name(name).full_require_paths }"
    gems = Bundler.with_unbundled_env { IO.popen([Gem.ruby, "-e", script, *names, { err: File::NULL }], &:read) }
    gems.split("\n") unless gems.empty?
  end

  it "are dropped after their handlers where their class wants that" do
    seed_orphans("dead", doomed(job_class: "ForgottenJob", dead: false))
    process = start_recoverer

    wait_until("the handlers were called") { told("dead").any? && told("exhausted").any? }
    expect(redis.zcard("dead")).to eq(0)
    expect(redis.keys(key("job*")) + redis.keys(key("deaths"))).to be_empty
    expect(process.log).to include("ForgottenJob job j was dropped (dead: false)")
  end

  # Deaths are attended to one after the other.
  it "are discarded where their exhausted block says so and this Sidekiq hears it" do
    discards = Gem::Version.new(Sidekiq::VERSION) >= Gem::Version.new("7.2")
    seed_orphans("dead", doomed(%w[first], job_class: "DiscardingJob"))
    process = start_recoverer
    wait_until("it has died") { process.log.include?("DiscardingJob job first") && !redis.exists?(key("deaths")) }
    seed_orphans("also dead", doomed(%w[second]))
    redis.hset(key("instances"), "also dead", "{}")
    wait_until("the handlers of the next one were called") { told("dead").any? { |jid,| jid == "second" } }

    expect(dead.map { |job| job["jid"] }).to eq(discards ? %w[second] : %w[first second])
    expect(process.log.include?("job first was discarded by its sidekiq_retries_exhausted")).to be(discards)
    # As Sidekiq 8.0.8 and later do it.
    tells = AnySidekiq.options[:lifecycle_events].key?(:exit)
    expect(told("dead").map(&:first)).to eq(discards && !tells ? %w[second] : %w[first second])
    expect(told("discarded").flatten).to eq(tells ? %w[first] : [])
  end

  it "die also where their exhausted block raises" do
    seed_orphans("dead", doomed(%w[a], job_class: "RaisingHandlerJob"))
    process = start_recoverer

    wait_until("it is told") { told("dead").map(&:first) == %w[a] }
    expect(dead.map { |job| job["jid"] }).to eq(%w[a])
    expect(process.log).to include("the exhausted block is out of order")
    expect(process).to be_alive
  end

  it "keep their handlers until a process comes that knows their class" do
    seed_orphans("dead", doomed(%w[ours]).merge(doomed((1..150).map(&:to_s), job_class: "TheirJob")))
    start_recoverer
    wait_until("those of the class that is known have run") { told("dead").map(&:first) == %w[ours] }
    wait_until("all are dead") { redis.zcard("dead") == 151 }
    expect(redis.llen(key("deaths"))).to eq(150)

    start_recoverer(env: { "SPEC_THEIR_CLASS" => "true" })
    wait_until("the others have run", within: 30) { told("dead").size == 151 }
    expect(told("exhausted").size).to eq(151)
    expect(redis.llen(key("deaths"))).to eq(0)
  end

  it "are told of all the same where no such process has come within dead_after" do
    seed_orphans("dead", doomed(%w[gone], job_class: "GoneJob"))
    start_recoverer(env: { "ASSURED_JOBS_DEAD_AFTER" => "2" })

    wait_until("it is dead") { redis.zcard("dead") == 1 }
    wait_until("it is told") { told("dead").map(&:first) == %w[gone] }
  end

  it "leave their handlers to the next process where one dies before it has called them" do
    seed_orphans("dead", doomed(%w[a b c], args: ["deadly handler"]))
    4.times do
      process = spawn_sidekiq(app:, args: ["-q", "other"])
      wait_until("a handler kills it, or none is left") { !process.alive? || told("dead").size == 3 }
    end

    expect(told("dead").map(&:first)).to contain_exactly("a", "b", "c")
    expect(redis.exists?(key("deaths"))).to be(false)
    expect(dead.size).to eq(3)
  end

  it "leave their handlers to a server where a console finds them" do
    seed_orphans("dead", doomed)
    expect(run_ruby(<<~RUBY)).to end_with("0\n")
      require "sidekiq-assured-jobs"
      Sidekiq.logger.level = Logger::FATAL
      puts Sidekiq::AssuredJobs.reenqueue_orphans!
    RUBY
    expect([redis.zcard("dead"), redis.llen(key("deaths"))]).to eq([1, 1])

    start_recoverer
    wait_until("the handlers were called") { told("dead").any? }
  end

  it "keep Sidekiq's bounds of the Dead set" do
    now = Time.now.to_f
    redis.zadd("dead", [[now - (181 * 24 * 3600), "too old"], *(1..10_000).map { |n| [now - 1 - n, "dead #{n}"] }])
    seed_orphans("dead", doomed)
    start_recoverer

    wait_until("the handlers were called") { told("dead").any? }
    expect(redis.zcard("dead")).to eq(10_000)
    expect(JSON.parse(redis.zrange("dead", -1, -1).first)).to include("jid" => "j")
    expect(redis.zscore("dead", "too old")).to be_nil
  end

  it "stay in the Dead set where those before them died by clocks that are ahead, and where its bound is less" do
    ahead = Time.now.to_f + 7200
    redis.zadd("dead", (1..10_000).map { |n| [ahead + n, "dead #{n}"] })
    seed_orphans("dead", doomed((1..80).map(&:to_s)))
    start_recoverer(env: { "SPEC_DEAD_MAX_JOBS" => "50" })

    wait_until("the handlers were called", within: 30) { told("dead").size == 80 }
    ours = redis.zrange("dead", 0, -1).grep_v(/\Adead /)
    expect(ours.size).to eq(80)
  end

  it "start anew when a person enqueues them again" do
    seed_orphans("dead", doomed)
    start_recoverer
    wait_until("it is dead") { redis.zcard("dead") == 1 }

    require "sidekiq/api"
    Sidekiq::DeadSet.new.each(&:retry)
    expect(queued.first).to include("jid" => "j")
    expect(queued.first).not_to have_key("assured_recoveries")
  end

  it "are no poison if a run in between has ended, by an exception" do
    odd = payloads(%w[j], job_class: "FailingJob", args: ->(jid) { [jid] })
    seed_orphans("dead", odd.transform_values { |payload| payload.sub(/}\z/, ',"assured_recoveries":2}') })
    start_recoverer(args: [])

    retried = wait_until("its retry is stored") { redis.zrange("retry", 0, 0).first }
    expect(started).to eq("j" => 1)
    expect(JSON.parse(retried)).to include("jid" => "j", "error_message" => "as it should")
    expect(retried).not_to include("assured_recoveries")
  end

  it "are no poison if a run in between was interrupted and pushed anew" do
    interrupted = payloads(%w[j], job_class: "InterruptedJob", args: ->(jid) { [jid] })
    seed_orphans("dead", interrupted.transform_values { |payload| payload.sub(/}\z/, ',"assured_recoveries":2}') })
    start_recoverer(args: [])

    pushed = wait_until("it is pushed anew") { queued("later").first }
    expect(pushed).to include("jid" => "j", "assured_jobs" => true)
    expect(pushed).not_to have_key("assured_recoveries")
  end

  it "are poison all the same if a middleware has pushed them anew in between, and not let them run" do
    throttled = payloads(%w[j], job_class: "ThrottledJob", args: ->(jid) { [jid] })
    seed_orphans("dead", throttled.transform_values { |payload| payload.sub(/}\z/, ',"assured_recoveries":2}') })
    start_recoverer(args: [])

    pushed = wait_until("it is pushed anew") { queued("later").first }
    expect(pushed).to include("jid" => "j", "assured_recoveries" => 3)
  end

  context "when an orphan cannot go back" do
    let(:garbage) { "{\"class\":\xFF\xFE".b }

    it "goes to the Dead set after dead_after, also with dead: false, and harms neither API nor web page" do
      redis.set("queue:odd", "no list")
      odd = payloads(%w[stuck], queue: "odd").transform_values { |payload| payload.sub(/}\z/, ',"dead":false}') }
      seed_orphans("dead", odd.merge("garbage" => garbage))
      process = start_recoverer(env: { "ASSURED_JOBS_DEAD_AFTER" => "3", "ASSURED_JOBS_MAX_RECOVERIES" => "1" })

      wait_until("both are logged") { process.log.scan("cannot go back and stays recorded").size == 2 }
      wait_until("both are dead", within: 30) { redis.zcard("dead") == 2 }
      expect(redis.zrange("dead", 0, -1).map(&:b)).to include(garbage)
      wait_until("the instance is forgotten") { !registered.include?("dead") }
      stuck = dead_jobs_by_api.find { |job| job["jid"] == "stuck" }
      expect(stuck["error_message"]).to match(/its queue is no list.*not at fault/)
      expect(web_page).to include("UnrecoverableJob")
    end

    def dead_jobs_by_api
      require "sidekiq/api"
      Sidekiq::DeadSet.new.to_a
    end

    def web_page
      require "sidekiq/web"
      require "rack/mock"
      Sidekiq::Web.disable(:sessions) if Sidekiq::VERSION.to_i == 6
      Rack::MockRequest.new(Sidekiq::Web).get("/morgue", "rack.session" => {}).tap do |response|
        expect(response.status).to eq(200)
      end.body
    end
  end

  it "are counted exactly when the recovering process is killed in the middle" do
    proxy = FaultProxy.new(redis_server.port) { |_, instant| 0.05 if instant == :after }
    seed_orphans("dead", payloads((1..300).map(&:to_s), queue: "parked").merge(doomed((301..500).map(&:to_s))))
    recoverer = spawn_sidekiq(args: ["-q", "other"], url: proxy.url)
    wait_until("the recovery is in the middle", within: 30) { redis.scard(key("jobs:dead")).between?(50, 450) }
    recoverer.kill
    start_recoverer
    wait_until("the rest is recovered", within: 30) { redis.scard(key("jobs:dead")).zero? }

    wait_until("the instances are buried") { Sidekiq::AssuredJobs.stats[:instances_died] == 2 }
    expect(Sidekiq::AssuredJobs.stats).to include(recovered: 300, poisoned: 200)
    expect([redis.llen("queue:parked"), redis.zcard("dead")]).to eq([300, 200])
  ensure
    proxy&.close
  end
end
