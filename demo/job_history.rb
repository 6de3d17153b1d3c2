# frozen_string_literal: true

# What is known of one job.
class JobHistory
  # One start of the job.
  Run = Struct.new(:instance, :started_at, :finished_at, keyword_init: true)

  attr_reader :jid, :number, :seconds, :runs
  # @return [Float, nil] unix time at which recovery queued the job again, as the payload has it
  attr_reader :requeued_at

  def initialize(jid, number, seconds)
    @jid = jid
    @number = number
    @seconds = seconds
    @runs = []
  end

  # @param entry [Hash] of the {Journal}
  # @return [void]
  def add(entry)
    see(entry[:recoveries], entry[:enqueued_at])
    if entry[:event] == "started"
      runs << Run.new(instance: entry[:instance], started_at: entry[:at])
    else
      runs.reverse.find { |run| run.instance == entry[:instance] }.finished_at = entry[:at]
    end
  end

  # @param recoveries [Integer, nil] as a payload has it
  # @param enqueued_at [Float, Integer] unix time in seconds, or in milliseconds since Sidekiq 8
  # @return [void]
  def see(recoveries, enqueued_at)
    return if @requeued_at || recoveries.to_i.zero?

    @requeued_at = enqueued_at.is_a?(Integer) ? enqueued_at / 1000.0 : enqueued_at
  end

  def recovered?
    !requeued_at.nil?
  end

  def finished_at
    runs.filter_map(&:finished_at).min
  end

  def finished?
    !finished_at.nil?
  end

  # @param now [Float] unix time
  # @return [Float] seconds since the latest start
  def ran(now)
    now - runs.last.started_at
  end

  def label
    "##{number}"
  end
end
