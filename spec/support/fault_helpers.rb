# frozen_string_literal: true

require_relative "faults/process_faults"
require_relative "faults/redis_faults"
require_relative "world"

# Worlds for the specs of faults, and what every one of them has to show in the end.
module FaultHelpers
  # @return [World] started; it ends with its example
  def start_world(names = %w[a b], **options)
    @by_middleware = options[:way] == "middleware"
    @world = World.new(names, **options)
    @world.start
  end

  # The world goes on: every process works, no job is lost or ran again without a reason, and nothing is left behind.
  #
  # @param world [World]
  # @return [HistoryCheck]
  def expect_recovered(world)
    world.expect_work
    world.settle
    check = world.check
    story = -> { "#{check}\n#{world.fleet.logs}" }
    expect(check.unexplained).to eq([]), story
    # Where the middleware tracks, retries go through Sidekiq's own scheduler, which pops and then pushes.
    may_be_lost = @by_middleware ? world.history.subjects(:raised) : []
    expect(check.lost - may_be_lost).to eq([]), story
    expect_clean_end(world)
    check
  end

  # No record is left while the processes live, and no key once they have ended.
  def expect_clean_end(world)
    expect_release(world)
    world.fleet.stop
    keys = world.places.own_keys
    expect(keys).to eq([]), -> { "left: #{keys.join(", ")}\n#{world.fleet.logs}" }
  end

  # Nobody waits for a release, which takes milliseconds; two beats would find a record that it has missed.
  def expect_release(world)
    Wait.wait_until("nothing is in flight", within: Fleet::INTERVAL) { world.places.in_flight.empty? }
  rescue Wait::TimedOut => e
    stories = world.places.pending.map { |job| world.check.story(job) }
    raise e.class, [e.message, *world.places.in_flight, *stories, world.fleet.logs].join("\n")
  end

  # Waits until each process has something to do.
  def wait_until_busy(world)
    world.supply.run
    names = world.fleet.names
    Wait.wait_until("all work") { names.all? { |name| world.history.subjects(:finished, name).size > 5 } }
  end

  # @param count [Integer]
  # @param seconds [Numeric] how long each runs the first time
  # @return [Array<String>] ids of jobs that run
  def begin_jobs(world, count, seconds, **options)
    jobs = world.supply.push_long(count, seconds, **options)
    Wait.wait_until("they run") { (jobs - world.history.subjects(:started)).empty? }
    jobs
  end

  def self.included(base)
    base.after { @world&.close }
  end
end

RSpec.configure { |config| config.include FaultHelpers, :faults }
