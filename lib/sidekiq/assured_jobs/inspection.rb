# frozen_string_literal: true

require_relative "engine_settings"
require_relative "native"

module Sidekiq
  module AssuredJobs
    # What consoles and web pages ask. Each call opens a connection and closes it again.
    module Inspection
      # All in-flight jobs of dead instances, the latest first.
      #
      # @return [Array<Hash>] parsed payloads, each with `"instance_id"`, `"orphaned_at"` (unix time in seconds:
      #   the latest moment at which the instance can have died) and `"orphaned_duration"` (seconds). A payload
      #   that cannot be parsed is under `"payload"`, with its `"jid"`.
      # @raise [ConnectionError]
      def get_orphaned_jobs_info # rubocop:disable Naming/AccessorMethodName -- a name of the 1.x gem
        records(dead_only: true)
      end

      # @return [Hash{String => Hash}] by instance id: `:status` ("alive" or "dead"), `:last_heartbeat` (Time, or
      #   for a dead instance unix time in seconds: the latest moment at which it can have died), and
      #   `:in_flight_job_count` or `:orphaned_job_count`. A dead instance without jobs is not listed.
      # @raise [ConnectionError]
      def get_instances_status # rubocop:disable Naming/AccessorMethodName -- a name of the 1.x gem
        Native.instances(EngineSettings.of(configuration)).each_with_object({}) do |(id, beat, jobs), status|
          if beat
            status[id] = { status: "alive", last_heartbeat: Time.at(beat.to_f), in_flight_job_count: jobs }
          elsif jobs.positive?
            status[id] = { status: "dead", last_heartbeat: latest_death, orphaned_job_count: jobs }
          end
        end
      end

      # @param jid [String]
      # @return [Hash, nil] as in {#get_orphaned_jobs_info}; nil if no such job is in flight anywhere
      # @raise [ConnectionError]
      def get_orphaned_job_by_jid(jid)
        records(dead_only: false).find { |job| job["jid"] == jid }
      end

      # Counters since ever, of all instances together.
      #
      # @return [Hash{Symbol => Integer}] `:recovered` and `:poisoned` jobs, `:unacknowledged` ends of attempts after
      #   which the job runs again, and `:instances_died`, each counted in the step that it counts; `:lease_lost`, jobs
      #   that went on in an instance that was taken for dead; and `:events_dropped`, events that nobody was told of
      #   because they came too fast
      # @raise [ConnectionError]
      def stats
        counted = Native.stats(EngineSettings.of(configuration)).transform_keys(&:to_sym)
        names = %i[recovered unacknowledged poisoned lease_lost instances_died events_dropped]
        names.to_h { |name| [name, 0] }.merge(counted)
      end

      private

      def records(dead_only:)
        died_at = latest_death
        Native.records(EngineSettings.of(configuration), dead_only).map do |instance, name, payload|
          parse(name, payload).merge(
            "instance_id" => instance, "orphaned_at" => died_at, "orphaned_duration" => Time.now.to_f - died_at
          )
        end
      end

      def parse(name, payload)
        job = Sidekiq.load_json(payload.to_s)
        job.is_a?(Hash) ? job : { "jid" => name, "payload" => payload }
      rescue JSON::ParserError
        { "jid" => name, "payload" => payload }
      end

      def latest_death
        Time.now.to_f - heartbeat_ttl
      end
    end
  end
end
