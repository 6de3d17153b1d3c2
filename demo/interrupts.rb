# frozen_string_literal: true

# Ctrl-C and the other ways of asking the demo to end.
class Interrupts
  SIGNALS = %w[INT TERM HUP].freeze

  def initialize
    @deferring = false
    SIGNALS.each do |name|
      trap(name) do
        @caught = name
        raise SignalException, name unless @deferring
      end
    end
  end

  # While a child process is being started a signal waits for {#check}: else the child could be left behind.
  #
  # @return [Object] what the block returns
  def defer
    @deferring = true
    yield
  ensure
    @deferring = false
  end

  # @return [void]
  # @raise [SignalException] if a signal came while it had to wait
  def check
    raise SignalException, @caught if @caught
  end

  # Nothing may interrupt the clean-up.
  #
  # @return [void]
  def ignore
    SIGNALS.each { |name| trap(name, "IGNORE") }
  end
end
