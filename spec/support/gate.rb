# frozen_string_literal: true

# Holds threads up while it is closed.
class Gate
  def initialize
    @mutex = Mutex.new
    @opened = ConditionVariable.new
  end

  # @return [void]
  def close
    @mutex.synchronize { @closed = true }
  end

  # @return [void]
  def open
    @mutex.synchronize do
      @closed = false
      @opened.broadcast
    end
  end

  # Returns once it is open.
  #
  # @return [void]
  def pass
    @mutex.synchronize { @opened.wait(@mutex) while @closed }
  end
end
