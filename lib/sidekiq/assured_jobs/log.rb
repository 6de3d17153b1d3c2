# frozen_string_literal: true

require_relative "errors"
require_relative "printable"

module Sidekiq
  module AssuredJobs
    # The only way to the log: no line is forged, and no logger that fails ends what it was told of.
    # @api private
    module Log
      class << self
        # @!method debug
        #   @yieldreturn [String] the line
        #   @return [void]
        # @!method info
        #   (see debug)
        # @!method warn
        #   (see debug)
        # @!method error
        #   (see debug)
        %i[debug info warn error].each do |severity|
          define_method(severity) { |&line| write(AssuredJobs.logger, severity, &line) }
        end

        # @param logger [Logger]
        # @param severity [Symbol]
        # @yieldreturn [String] the line
        # @return [void]
        def write(logger, severity)
          logger.public_send(severity) { "AssuredJobs: #{Printable.line(yield)}" }
          nil
        rescue *APPLICATION_ERRORS
          # Nobody is left to be told.
        end
      end
    end
  end
end
