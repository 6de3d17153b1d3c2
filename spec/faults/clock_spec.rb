# frozen_string_literal: true

require_relative "../support/fault_helpers"

RSpec.describe "A process whose clock is stepped by an hour", :faults do
  let(:clock) { Tempfile.new("clock").tap { |file| File.write(file.path, "+0\n") } }

  before { skip "libfaketime is not installed" unless Faketime.library }

  # What the process takes for the time stands in its heartbeat.
  def ahead(world)
    world.redis.get("#{JobPlaces::PREFIX}:instance:a").to_f - Time.now.to_f
  end

  { "forward" => 3600, "back" => -3600 }.each do |direction, seconds|
    it "loses no job and has none run twice (#{direction})" do
      world = start_world(own: { "a" => Faults::ClockStepped.environment(clock.path) })
      wait_until_busy(world)
      world.suffer(Faults::ClockStepped.new(clock.path, seconds), seconds: 1.5 * Fleet::TTL) do
        Wait.wait_until("its clock is stepped") { (ahead(world) - seconds).abs < 60 }
      end

      expect_recovered(world)
      expect(world.places.verdicts).to be_empty
    end
  end
end

RSpec.describe "A Redis whose clock is stepped by an hour", :faults do
  let(:clock) { Tempfile.new("clock").tap { |file| File.write(file.path, "+0\n") } }

  before { skip "libfaketime is not installed" unless Faketime.library }

  def stepped?(world, seconds)
    (world.redis.time.first - Time.now.to_f - seconds).abs < 60
  end

  def start(names)
    start_world(names, redis_env: Faults::RedisClockStepped.environment(clock.path)).tap { |it| wait_until_busy(it) }
  rescue RuntimeError => e
    # Redis 8 brings an allocator that does not go with the library.
    e.message.include?("crashed by signal") ? skip("this redis-server does not run under libfaketime") : raise
  end

  { "forward" => 3600, "back" => -3600 }.each do |direction, seconds|
    it "has nobody declared dead who lives (#{direction}, and to the right time)" do
      world = start(%w[a b])
      long = begin_jobs(world, 6, 4 * Fleet::TTL)
      world.suffer(Faults::RedisClockStepped.new(clock.path, seconds), seconds: 1.5 * Fleet::TTL) do
        Wait.wait_until("its clock is stepped") { stepped?(world, seconds) }
      end

      check = expect_recovered(world)
      expect(check.runs.slice(*long).values.map(&:size)).to all(eq(1))
      expect(world.redis.hget("#{JobPlaces::PREFIX}:stats", "instances_died")).to be_nil
    end
  end

  it "has a process found in time that stands still, although its heartbeat does not expire" do
    world = start(%w[a b c])
    long = begin_jobs(world, 12, 3 * Fleet::TTL)
    step = Faults::RedisClockStepped.new(clock.path, -3600)
    world.suffer(Faults::ProcessPaused.new("a")) do
      world.suffer(step) do
        # Its last beat may be one interval old. The rest is for a busy machine.
        Wait.wait_until("its jobs run elsewhere", within: Fleet::TTL + (2 * Fleet::INTERVAL) + 3) do
          world.check.runs.slice(*long).values.any? { |runs| runs.size == 2 }
        end
      end
    end
    expect_recovered(world)
  end
end
