# frozen_string_literal: true

require_relative "../../spec/support/repeater"
require_relative "../../spec/support/wait"

# Keeps one process running for each instance id, as an init system does: a process that boots while Redis is away
# gives up, and somebody has to start another one. Those that a fault ends are left to it.
class Supervisor
  # @return [Array<String>] what no fault explains
  attr_reader :complaints

  # @param world [World]
  # @param slots [Array<String>] instance ids; the first process of `a` is called `a.1`
  def initialize(world, slots)
    @world = world
    @slots = slots
    @lives = slots.to_h { |slot| [slot, 1] }
    @left = {}
    @complaints = []
  end

  # @return [void]
  def run
    @rounds = Repeater.new do
      @slots.each { |slot| tend(slot) }
      0.2
    end
  end

  # @return [void]
  def stop
    @rounds&.stop
    @rounds = nil
  end

  # Leaves the process of a slot to a fault that ends and replaces it, within the block.
  #
  # @param slot [String]
  # @yieldparam process [String] name of the one that is there
  # @yieldparam successor [String] name of the one that is to come
  # @return [void]
  def leave(slot)
    # From here on, before it ends.
    @left[slot] = true
    yield process_of(slot), next_name(slot)
  ensure
    @left.delete(slot)
  end

  # @param slot [String]
  # @return [String] name of the process that is there now, or very soon
  def process_of(slot)
    Wait.wait_until("a process of #{slot}") { name_in(slot) }
  end

  private

  def tend(slot)
    name = name_in(slot)
    replace(slot, name) if name && ended?(name) && !@left[slot]
  rescue StandardError => e
    @complaints << "#{slot} could not be replaced: #{e.full_message(highlight: false)}"
  end

  def replace(slot, name)
    @complaints << "#{name} ended by itself" if @world.history.subjects(:started, name).any?
    @world.fleet.bury(name)
    @world.fleet.boot(next_name(slot), @world.server.port)
  end

  def name_in(slot)
    @world.fleet.names.find { |name| name.start_with?("#{slot}.") }
  end

  def ended?(name)
    member = @world.fleet[name]
    member && !member.process.alive?
  end

  def next_name(slot)
    "#{slot}.#{@lives[slot] += 1}"
  end
end
