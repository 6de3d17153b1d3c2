# frozen_string_literal: true

RSpec.describe Sidekiq::AssuredJobs::Configuration do
  def configuration(environment = {})
    described_class.new(environment:)
  end

  it "has the defaults of the 1.x gem" do
    expect(configuration).to have_attributes(
      instance_id: nil, namespace: "sidekiq_assured_jobs", heartbeat_interval: 15, heartbeat_ttl: 45,
      recovery_lock_ttl: 300, redis_options: nil, logger: nil, auto_recovery_enabled: true,
      delayed_recovery_interval: 300, delayed_recovery_count: 1, track_timeout: 5, max_recoveries: 3, death_grace: 2
    )
  end

  it "reads every setting from the environment" do
    expect(
      configuration(
        "ASSURED_JOBS_INSTANCE_ID" => "pod", "ASSURED_JOBS_NS" => "ns", "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "5",
        "ASSURED_JOBS_HEARTBEAT_TTL" => "12.5", "ASSURED_JOBS_RECOVERY_LOCK_TTL" => "60",
        "ASSURED_JOBS_AUTO_RECOVERY" => "false", "ASSURED_JOBS_REDIS_OPTIONS" => '{"db":3}',
        "ASSURED_JOBS_DELAYED_RECOVERY_INTERVAL" => "0", "ASSURED_JOBS_DELAYED_RECOVERY_COUNT" => "4",
        "ASSURED_JOBS_TRACK_TIMEOUT" => "0", "ASSURED_JOBS_MAX_RECOVERIES" => "0", "ASSURED_JOBS_DEATH_GRACE" => "2.5"
      )
    ).to have_attributes(
      instance_id: "pod", namespace: "ns", heartbeat_interval: 5, heartbeat_ttl: 12.5, recovery_lock_ttl: 60,
      auto_recovery_enabled: false, redis_options: { db: 3 }, delayed_recovery_interval: 0,
      delayed_recovery_count: 4, track_timeout: 0, max_recoveries: 0, death_grace: 2.5
    )
  end

  it "prefers code to the environment, also where code says false or nil" do
    config = configuration("ASSURED_JOBS_AUTO_RECOVERY" => "true", "ASSURED_JOBS_INSTANCE_ID" => "pod")
    config.auto_recovery_enabled = false
    config.instance_id = nil

    expect(config).to have_attributes(auto_recovery_enabled: false, instance_id: nil)
  end

  {
    namespace: ["", nil, :symbol, 3], instance_id: ["", 7], heartbeat_interval: [0, -1, "15", nil, Float::NAN, 86_401],
    heartbeat_ttl: [0, Float::INFINITY, "45"], recovery_lock_ttl: [-300, nil], track_timeout: [-1, "5"],
    death_grace: [-1, 0.5, nil], auto_recovery_enabled: [nil, "yes", 1], logger: ["stdout"],
    delayed_recovery_interval: [-1], delayed_recovery_count: [1.5, -1],
    max_recoveries: [-1, nil, "3", 1.0, 1_000_001]
  }.each do |name, values|
    values.each do |value|
      it "refuses #{value.inspect} for #{name}, naming setting, value and what is allowed" do
        expect { configuration.public_send(:"#{name}=", value) }.to raise_error(
          Sidekiq::AssuredJobs::ConfigurationError, /\A#{name} is #{Regexp.escape(value.inspect)}, but must be .+/
        )
      end
    end
  end

  {
    "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "soon", "ASSURED_JOBS_HEARTBEAT_TTL" => "-45",
    "ASSURED_JOBS_AUTO_RECOVERY" => "maybe",
    "ASSURED_JOBS_DELAYED_RECOVERY_COUNT" => "1.5", "ASSURED_JOBS_MAX_RECOVERIES" => "-1"
  }.each do |variable, value|
    it "refuses #{value.inspect} in #{variable}, naming the variable" do
      expect { configuration(variable => value).validate! }.to raise_error(
        Sidekiq::AssuredJobs::ConfigurationError, /\A#{variable} is #{Regexp.escape(value.inspect)}, but .+ must be/
      )
    end
  end

  described_class::SETTINGS.filter_map(&:env).each do |variable|
    ["", " \t\n"].each do |blank|
      it "takes #{variable}=#{blank.inspect} for one that is not set" do
        config = configuration(variable => blank).validate!
        described_class::SETTINGS.each { |one| expect(config.public_send(one.name)).to eq(one.default) }
      end
    end
  end

  it "blames the default where a blank variable leaves it" do
    config = configuration("ASSURED_JOBS_HEARTBEAT_TTL" => " ", "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "60")
    expect { config.validate! }.to raise_error(
      Sidekiq::AssuredJobs::ConfigurationError, /\Aheartbeat_ttl is 45, .+ above ASSURED_JOBS_HEARTBEAT_INTERVAL/
    )
  end

  it "refuses options of a connection that are no Hash, without a word of them" do
    ["redis://localhost", ["redis"], 7].each do |value|
      expect { configuration.redis_options = value }.to raise_error(
        Sidekiq::AssuredJobs::ConfigurationError, /\Aredis_options is a #{value.class} \(hidden.*\), but must be a Hash/
      )
    end
    ["{db: 3}", "[]", "3", '"redis"'].each do |text|
      expect { configuration("ASSURED_JOBS_REDIS_OPTIONS" => text).validate! }.to raise_error(
        Sidekiq::AssuredJobs::ConfigurationError, /\AASSURED_JOBS_REDIS_OPTIONS is a String \(hidden.*\), but .+ a Hash/
      )
    end
  end

  it "refuses a handler for an event that does not exist, naming those that do" do
    [:recoverd, "recovered", nil].each do |name|
      expect { configuration.on(name) { nil } }.to raise_error(
        Sidekiq::AssuredJobs::ConfigurationError,
        "on is called with #{name.inspect}, but the events are :recovered, :poisoned, :lease_lost, :instance_died"
      )
    end
    expect { configuration.on(:recovered) }.to raise_error(Sidekiq::AssuredJobs::ConfigurationError, /needs a block/)
  end

  it "keeps handlers in the order in which they came, and copies apart" do
    config = configuration
    handlers = [proc { 1 }, proc { 2 }].each { |handler| config.on(:poisoned, &handler) }
    config.dup.on(:poisoned) { 3 }

    expect(config.handlers(:poisoned)).to eq(handlers)
    expect(config.handlers(:recovered)).to be_empty
  end

  it "refuses a TTL that is not above the interval, naming where each comes from" do
    config = configuration("ASSURED_JOBS_HEARTBEAT_TTL" => "15")

    expect { config.validate! }.to raise_error(
      Sidekiq::AssuredJobs::ConfigurationError, /\AASSURED_JOBS_HEARTBEAT_TTL is 15, .+ above heartbeat_interval \(15\)/
    )
  end
end
