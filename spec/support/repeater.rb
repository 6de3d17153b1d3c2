# frozen_string_literal: true

# Does the same again and again, on a thread of its own.
class Repeater
  # @yieldreturn [Numeric] seconds until the next time
  def initialize
    @thread = Thread.new { loop { sleep yield } }
    @thread.report_on_exception = false
  end

  # Ends it, wherever it is.
  #
  # @return [void]
  # @raise [StandardError] what has ended it before
  def stop
    @thread.kill.join
  end
end
