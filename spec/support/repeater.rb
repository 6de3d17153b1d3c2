# frozen_string_literal: true

# Does the same again and again, on a thread of its own.
class Repeater
  # @yieldreturn [Numeric] seconds until the next time
  def initialize
    @mutex = Mutex.new
    @ending = ConditionVariable.new
    @thread = Thread.new { @mutex.synchronize { @ending.wait(@mutex, yield) until @over } }
    @thread.report_on_exception = false
  end

  # Ends it once it is through with what it does: what was done and not written down, nobody would look for.
  #
  # @return [void]
  # @raise [StandardError] what has ended it before
  def stop
    @mutex.synchronize do
      @over = true
      @ending.signal
    end
    @thread.join
  end
end
