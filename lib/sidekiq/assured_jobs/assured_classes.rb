# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # Which jobs are assured. The flag in the payload decides; a payload without it (pushed by class name, by another
    # application, or before the deploy that made its class assured) goes by its class. The engine tells Redis the names
    # of these classes, so that such a job is recorded when it is popped.
    module AssuredClasses
      # The option that makes a class assured, and the key it becomes in payloads.
      OPTION = "assured_jobs"

      # Text that the payload of an assured job contains; the engine looks closer.
      FLAG = "\"#{OPTION}\":true".freeze

      # The option with the limit of recoveries of a class.
      LIMIT = "assured_max_recoveries"

      # By class name and not by class: Rails replaces classes when it reloads them.
      @known = {}
      @included_in = ObjectSpace::WeakMap.new

      module_function

      # @param klass [Class] has the mixin, and so have its subclasses
      # @return [void]
      def add(klass)
        @included_in[klass] = klass
        announce(klass)
      end

      # @return [Hash{String => Integer, nil}] names of the assured classes that are loaded, and how often their jobs
      #   may be recovered, where a class says so
      def limits
        @included_in.values.flat_map { |klass| family(klass) }.uniq.each_with_object({}) do |klass, limits|
          limits[klass.name] = limit(klass) if klass.name && assured_class?(klass)
        end
      end

      # Runs for every job of every class.
      #
      # @param job [Hash] parsed payload
      # @return [Boolean]
      def assured?(job)
        # Other applications may write what they like: nothing else is a word.
        flag = job[OPTION]
        return flag if [true, false].include?(flag)

        name = (job["wrapped"] || job["class"]).to_s
        known = @known[name]
        known.nil? ? @known[name] = look_up(name) : known
      end

      # @api private
      def look_up(name)
        klass = Object.const_get(name)
        assured_class?(klass).tap { |assured| announce(klass) if assured }
      rescue NameError
        # Sidekiq itself reports a class that does not exist.
        false
      end

      # A class that is loaded after the engine has started.
      # @api private
      def announce(klass)
        AssuredJobs.running_engine&.assure_class(klass.name, limit(klass)) if klass.name
      end

      # @api private
      def assured_class?(klass)
        klass.respond_to?(:get_sidekiq_options) && klass.get_sidekiq_options[OPTION] == true
      end

      # @api private
      def limit(klass)
        limit = klass.get_sidekiq_options[LIMIT]
        limit if limit.is_a?(Integer) && !limit.negative?
      end

      # @api private
      def family(klass)
        [klass, *klass.subclasses.flat_map { |subclass| family(subclass) }]
      end
      private_class_method :look_up, :announce, :assured_class?, :limit, :family
    end
  end
end
