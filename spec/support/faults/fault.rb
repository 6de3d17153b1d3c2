# frozen_string_literal: true

require_relative "../history"

# What can go wrong in a {World}. A fault object strikes once at a time, and can be used again when it was undone.
module Faults
  # Writes down in the history when it strikes and when it is over.
  class Fault
    # @return [String] without spaces
    def name
      self.class.name.split("::").last
    end

    # @return [String] whose jobs may run again because of it: a process, {History::EVERYBODY} or {History::NOBODY}
    def target
      History::NOBODY
    end

    # @param world [World]
    # @return [void]
    def strike(world)
      world.history.write(:struck, target, name)
      begin_on(world)
    end

    # Ends the fault, and puts back what it destroyed.
    #
    # @param world [World]
    # @return [void]
    def undo(world)
      end_on(world)
      world.history.write(:healed, target, name)
    end

    private

    def begin_on(_world)
      raise NotImplementedError
    end

    def end_on(_world)
      raise NotImplementedError
    end
  end
end
