# frozen_string_literal: true

require "redis"
require_relative "one_life"
require_relative "redis_server"
require_relative "sidekiq_forks"

# Plays the life of four jobs again and again. Each time their process is killed at another one of the commands
# that it sends, and a second process finishes what is left.
class EveryStep
  INSTANTS = %i[before after].freeze
  # Lives that are played at the same time; they wait for time-outs most of the time.
  LANES = 8

  # @param env [Hash{String => String}] further settings of the gem
  def initialize(env: {})
    @env = env
  end

  # @return [Array<OneLife::Outcome>] the first one without a kill
  def run
    with_servers do
      whole = life(0).play(nil, nil)
      turns = Queue.new
      steps(whole).product(INSTANTS) { |turn| turns << turn }
      turns.close
      [whole, *play(turns)]
    end
  end

  # @param step [CommandProxy::Step]
  # @param instant [Symbol] `:before` or `:after`
  # @return [OneLife::Outcome]
  def run_one(step, instant)
    with_servers { life(0).play(step, instant) }
  end

  private

  def with_servers
    @server = RedisServer.new
    @forks = SidekiqForks.new
    yield
  ensure
    @forks&.close
    @server&.remove
  end

  # @return [Array<CommandProxy::Step>]
  def steps(whole)
    whole.counts.flat_map do |name, count|
      # What the engine sends together varies a little.
      count += 1 if name.start_with?("pipeline", "fetch")
      (1..count).map { |number| CommandProxy::Step.new(name, number) }
    end
  end

  def play(turns)
    lanes = Array.new(LANES) { |lane| Thread.new { play_lane(lane, turns) } }
    lanes.each { |thread| thread.report_on_exception = false }
    lanes.flat_map(&:value)
  ensure
    lanes&.each(&:kill)&.each(&:join)
  end

  def play_lane(lane, turns)
    lives = []
    while (turn = turns.pop)
      lives << life(lane).play(*turn)
    end
    lives
  end

  def life(lane)
    OneLife.new(@server, @forks, lane, @env)
  end
end
