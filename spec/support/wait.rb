# frozen_string_literal: true

# Waiting for conditions, never for time to pass.
module Wait
  class TimedOut < StandardError; end

  module_function

  # @param what [String] for the failure message
  # @param within [Numeric] seconds
  # @yieldreturn [Object] truthy when the condition holds
  # @return [Object] what the block returned
  def wait_until(what, within: 15)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + within
    loop do
      result = yield
      return result if result
      raise TimedOut, "#{what}: not within #{within} s" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

      sleep 0.02
    end
  end
end
