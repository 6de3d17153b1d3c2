# frozen_string_literal: true

require_relative "errors"
require_relative "printable"

module Sidekiq
  module AssuredJobs
    # One setting: its default, its environment variable, and what it may be.
    #
    # @!attribute [r] name
    #   @return [Symbol]
    # @!attribute [r] env
    #   @return [String, nil] environment variable
    # @!attribute [r] default
    #   @return [Object]
    # @!attribute [r] kind
    #   @return [Symbol] one of the keys of {PARSERS}
    # @!attribute [r] allowed
    #   @return [String] what is allowed, for error messages
    # @!attribute [r] check
    #   @return [Proc] tells whether a value is allowed
    Setting = Struct.new(:name, :env, :default, :kind, :allowed, :check, keyword_init: true) do
      # @param value [Object] set by code
      # @return [Object] the value
      # @raise [ConfigurationError]
      def checked(value)
        return value if check.call(value)

        raise ConfigurationError, "#{name} is #{shown(value)}, but must be #{allowed}"
      end

      # @param environment [Hash{String => String}]
      # @return [Object, nil] the variable's value; nil where it is not set, or blank, as Compose has those that are not
      #   set
      # @raise [ConfigurationError] when it is not what the setting may be
      def from_environment(environment)
        text = environment[env] if env
        return if text.nil? || text.b.strip.empty?

        value = Setting::PARSERS.fetch(kind).call(text)
        return value if check.call(value)

        raise ConfigurationError, "#{env} is #{shown(text)}, but #{name} must be #{allowed}"
      end

      # @param value [Object]
      # @return [String] for people; options of a connection may hold a password
      def shown(value)
        kind == :json ? "a #{value.class} (hidden, since it may hold a password)" : Printable.value(value)
      end
    end

    # How the text of an environment variable becomes a value; nil where it does not.
    Setting::PARSERS = {
      text: ->(text) { text },
      seconds: ->(text) { Integer(text, 10, exception: false) || Float(text, exception: false) },
      count: ->(text) { Integer(text, 10, exception: false) },
      boolean: ->(text) { { "true" => true, "1" => true, "false" => false, "0" => false }[text.downcase] },
      json: lambda { |text|
        begin
          JSON.parse(text, symbolize_names: true)
        rescue JSON::ParserError
          :invalid
        end
      },
      object: ->(_) {}
    }.freeze
  end
end
