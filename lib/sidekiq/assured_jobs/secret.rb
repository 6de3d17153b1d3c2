# frozen_string_literal: true

require "uri"
require_relative "errors"
require_relative "printable"

module Sidekiq
  module AssuredJobs
    # A password or a key, which no inspection shows, whatever it is a part of.
    # @api private
    class Secret < String
      # Shows nothing to `pp` either.
      module Shy
        # @api private
        def pretty_print(printer)
          printer.text(inspect)
        end
      end
      include Shy

      # Objects that hold secrets, and show nothing.
      module Holder
        include Shy

        # @return [String]
        def inspect
          "#<#{self.class.name}>"
        end
        alias to_s inspect
      end

      class << self
        # @param value [String, Proc, nil]
        # @return [Secret, Proc, nil] hidden where it is a text
        def of(value)
          value.is_a?(String) ? new(value) : value
        end

        # Runs what reads options of a connection. Whatever goes wrong is told without them: Ruby and the Redis clients
        # repeat in their messages what they were given, and as `cause` so would an error of ours.
        #
        # @param origin [String] where the options come from
        # @param options [Hash, nil] nil where they are not known
        # @return [Object] what the block returns
        # @raise [ConfigurationError]
        def guard(origin, options = nil)
          yield
        rescue Error
          raise
        rescue *APPLICATION_ERRORS => e
          raise ConfigurationError, "#{origin}: #{harmless(e, options)}", cause: nil
        end

        private

        def harmless(error, options)
          message = Printable.utf8(error.message.to_s)
          return Printable.error(error) if options && parts(options).none? { |part| message.include?(part) }

          "#{error.class.name}, in words that may repeat a password"
        end

        # What may stand in a message in the place of a password: all texts among the options, and the pieces of URLs.
        def parts(options)
          parts = texts(options).flat_map do |text|
            pieces = text.sub(%r{\A[a-z+]+://}, "").split(%r{[:/@?&=\s]})
            [text, *pieces, *pieces.map { |piece| decode(piece) }]
          end
          parts.select { |part| part.size > 2 }
        end

        def texts(value)
          case value
          when Hash then value.values.flat_map { |one| texts(one) }
          when Array then value.flat_map { |one| texts(one) }
          when String, Symbol, Numeric then [Printable.utf8(value.to_s)]
          else []
          end
        end

        def decode(piece)
          URI.decode_www_form_component(piece)
        rescue ArgumentError
          piece
        end
      end

      # @return [String]
      def inspect
        "[hidden]"
      end
    end
  end
end
