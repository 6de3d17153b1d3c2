# frozen_string_literal: true

require_relative "worker"

module Sidekiq
  module AssuredJobs
    # Which jobs are assured. The flag in the payload decides; a payload without it (pushed by class name, or
    # before the deploy that made its class assured) goes by its class. Runs for every job of every class.
    module AssuredClasses
      # By class name and not by class: Rails replaces classes when it reloads them.
      @known = {}

      module_function

      # @param job [Hash] parsed payload
      # @return [Boolean]
      def assured?(job)
        flag = job[Worker::OPTION]
        return flag == true unless flag.nil?

        name = (job["wrapped"] || job["class"]).to_s
        known = @known[name]
        known.nil? ? @known[name] = look_up(name) : known
      end

      # @api private
      def look_up(name)
        klass = Object.const_get(name)
        klass.respond_to?(:get_sidekiq_options) && klass.get_sidekiq_options[Worker::OPTION] == true
      rescue NameError
        # Sidekiq itself reports a class that does not exist.
        false
      end
      private_class_method :look_up
    end
  end
end
