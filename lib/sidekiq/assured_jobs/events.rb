# frozen_string_literal: true

require_relative "log"
require_relative "printable"

module Sidekiq
  module AssuredJobs
    # Something that happened to one job, or to one instance.
    #
    # @!attribute [r] name
    #   @return [Symbol] one of {Events::NAMES}
    # @!attribute [r] instance_id
    #   @return [String] the instance that died, or was taken for dead
    # @!attribute [r] seconds_since_beat
    #   @return [Float, nil] since its last heartbeat; nil where this process saw none
    # @!attribute [r] job_class
    #   @return [String, nil] nil where the event is about the instance alone, or the payload cannot be read
    # @!attribute [r] jid
    #   @return [String, nil]
    # @!attribute [r] queue
    #   @return [String, nil]
    # @!attribute [r] attempt
    #   @return [Integer, nil] which attempt the event ends: 1 for a job that was not recovered before
    # @!attribute [r] reason
    #   @return [String, nil] why, for `:poisoned`
    Event = Struct.new(:name, :job_class, :jid, :queue, :attempt, :instance_id, :seconds_since_beat, :reason,
                       keyword_init: true) do
      # @return [String] name and details as `key=value`, for the log
      def to_s
        details = to_h.except(:name).compact.map do |key, value|
          value = value.round(3) if value.is_a?(Float)
          "#{key}=#{Printable.quoted(value, key == :reason ? Printable::MOST_OF_A_LINE : Printable::MOST)}"
        end
        "#{name} #{details.join(" ")}"
      end
    end

    # Tells the application what happened: its own handlers, ActiveSupport::Notifications, and the log.
    # @api private
    module Events
      # `:recovered`: a job of a dead instance is in its queue again. `:poisoned`: one will not run again by itself.
      # `:lease_lost`: this instance was taken for dead, and a job that it still runs was given to another.
      # `:instance_died`: an instance was found dead.
      NAMES = %i[recovered poisoned lease_lost instance_died].freeze

      SEVERITIES = { recovered: :info, poisoned: :error, lease_lost: :warn, instance_died: :warn }.freeze

      class << self
        # @param name [Symbol]
        # @return [Boolean] whether anybody may want to be told
        def awaited?(name)
          AssuredJobs.configuration.handlers(name).any? || !defined?(::ActiveSupport::Notifications).nil?
        end

        # @param event [Event]
        # @return [void]
        def publish(event)
          AssuredJobs.configuration.handlers(event.name).each do |handler|
            guard("a handler of #{event.name}") { handler.call(event) }
          end
          return unless defined?(::ActiveSupport::Notifications)

          guard("a subscriber of #{event.name}.sidekiq_assured_jobs") do
            ::ActiveSupport::Notifications.instrument("#{event.name}.sidekiq_assured_jobs", event.to_h.except(:name))
          end
        end

        # Runs code of the application, which must not end what runs it.
        #
        # @param what [String] for the log
        # @return [Object, nil] what the block returns
        def guard(what)
          yield
        rescue *APPLICATION_ERRORS => e
          Log.error { "#{what} raised #{Printable.error(e)}" }
          nil
        end
      end
    end
  end
end
