# frozen_string_literal: true

require_relative "../../spec/support/world"
require_relative "nemesis_faults"
require_relative "nemesis_load"
require_relative "nemesis_plan"
require_relative "supervisor"

# Sidekiq processes under load in a {World} in which things go wrong all the time, and what the history of it shows.
class Nemesis
  SLOTS = %w[a b c d].freeze
  INTERVAL = 1
  TTL = 3
  # Seconds within which all must be done once nothing goes wrong any more.
  PATIENCE = 120
  PASSWORD = "secret"

  # What came out: the check of the history, what else went wrong in words, and keys that nobody removed.
  Result = Struct.new(:check, :failures, :left_over, keyword_init: true)

  # @param seed [Integer] decides the faults; the machine decides the rest
  # @param way [String] key of {Fleet::WAYS}
  # @param lossy [Boolean] whether Redis may lose what it has acknowledged
  # @param verbose [Boolean] whether to print each fault
  def initialize(seed:, way:, lossy: false, verbose: false)
    @seed = seed
    @way = way
    @lossy = lossy
    @verbose = verbose
    @failures = []
  end

  # @param seconds [Numeric] how long faults strike, about
  # @yieldparam result [Result]
  # @yieldparam world [World] as it was at the end
  # @return [Object] what the block returns
  def run(seconds)
    @began = now
    @clocks = Array.new(2) { Tempfile.new("clock").tap { |file| File.write(file.path, "+0\n") } }
    @world = build_world
    @supervisor = Supervisor.new(@world, SLOTS)
    suffer(plan(seconds))
    yield drain, @world
  ensure
    @supervisor&.stop
    @world&.close
    @clocks&.each(&:close!)
  end

  # @param seconds [Numeric]
  # @return [Array<NemesisPlan::Episode>]
  def plan(seconds)
    NemesisPlan.new(Random.new(@seed), kinds: NemesisFaults.kinds(lossy: @lossy), slots: SLOTS, ttl: TTL)
               .episodes(seconds)
  end

  private

  def build_world
    World.new(
      SLOTS.map { |slot| "#{slot}.1" },
      way: @way,
      own: { NemesisFaults::CLOCKED => clock(Faults::ClockStepped, @clocks.first) },
      redis_env: clock(Faults::RedisClockStepped, @clocks.last),
      env: { "ASSURED_JOBS_HEARTBEAT_INTERVAL" => INTERVAL.to_s, "ASSURED_JOBS_HEARTBEAT_TTL" => TTL.to_s,
             "FAULTS_TIMEOUT" => TTL.to_s },
      user: "#{NemesisFaults::USER}:#{PASSWORD}",
      redis: ["--user", NemesisFaults::USER, "on", ">#{PASSWORD}", "~*", "&*", "+@all",
              "--appendonly", "yes", "--appendfsync", "always"]
    )
  end

  def clock(fault, file)
    Faketime.library ? fault.environment(file.path) : {}
  end

  def suffer(episodes)
    @world.start
    load = NemesisLoad.new(Random.new(@seed), TTL)
    @world.supply.run(pause: 1.0) { load.draw }
    @supervisor.run
    episodes.each do |episode|
      episode.strikes.map { |strike| Thread.new { carry_out(strike) } }.each(&:join)
      # The quiet time; nothing is waited for.
      sleep episode.quiet
    end
    @world.supply.stop
  end

  def carry_out(strike)
    sleep strike.after
    if strike.kind.ends
      @supervisor.leave(strike.slot) { |process, successor| suffer_one(strike, process, successor) }
    else
      suffer_one(strike, strike.slot && @supervisor.process_of(strike.slot))
    end
  rescue StandardError => e
    @failures << "#{strike.kind.name} could not be carried out: #{e.full_message(highlight: false)}"
  end

  def suffer_one(strike, process = nil, successor = nil)
    fault = strike.kind.make.call(NemesisFaults::Target.new(process, successor, *@clocks.map(&:path), strike.draw))
    fault.prepare(@world) if fault.respond_to?(:prepare)
    tell(strike.kind.name, process, "strikes")
    @world.suffer(fault, seconds: strike.seconds)
    tell(strike.kind.name, process, "is over")
  end

  def drain
    hope { @world.expect_work(within: PATIENCE) }
    hope { @world.settle(within: PATIENCE) }
    hope { Wait.wait_until("the dead leave the registry", within: PATIENCE) { registered <= SLOTS.size } }
    check = @world.check
    left_over = @world.places.in_flight
    @supervisor.stop
    hope { @world.fleet.stop }
    Result.new(check:, failures: @failures + @supervisor.complaints, left_over: left_over | @world.places.own_keys)
  end

  def hope
    yield
  rescue Wait::TimedOut => e
    @failures << e.message
  end

  def registered
    @world.redis.hlen("#{JobPlaces::PREFIX}:instances")
  end

  def tell(*words)
    puts format("%<at>7.1f  %<words>s", at: now - @began, words: words.compact.join(" ")) if @verbose
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
