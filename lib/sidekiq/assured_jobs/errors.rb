# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # What code of the application may raise (client middleware, handlers, callables) without ending the thread that
    # calls it. A method that is not implemented, or a file that cannot be loaded, is no StandardError.
    # @api private
    APPLICATION_ERRORS = [StandardError, ScriptError, SystemStackError].freeze

    # What all errors of this gem have in common.
    class Error < StandardError; end

    # A setting, or an option of the Redis connection, that cannot be honoured. The message names it.
    class ConfigurationError < Error; end

    # Redis could not be asked.
    class ConnectionError < Error; end

    # What death handlers are told of a job that was recovered as often as it may be, and whose process died again.
    class PoisonJob < Error; end

    # What Sidekiq's pages show of a retry whose attempt ended without acknowledgement: its thread was killed, or Redis
    # took no retry.
    class UnacknowledgedEnd < Error; end

    # What death handlers are told of a job that could not be recovered: refused by client middleware, for example.
    class UnrecoverableJob < Error; end

    # The job was given to another process while it ran here. {Worker#checkpoint!} raises it; it counts as no failure
    # and leads to no retry.
    class LeaseLost < Error; end

    # The operating system gives no more threads. Jobs run as they would without this gem.
    class OutOfThreads < Error; end

    # An engine was used in a forked child of its process.
    class ForkError < Error; end
  end
end
