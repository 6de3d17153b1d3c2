# frozen_string_literal: true

require_relative "background"
require_relative "errors"
require_relative "log"
require_relative "secret"

module Sidekiq
  module AssuredJobs
    # The passwords that callables give, such as tokens that expire. The engine's threads cannot call Ruby: they use
    # the last answer, and ask here when a server refuses it, at each reconnect, and when it is {REFRESH} seconds old.
    class Passwords
      include Secret::Holder

      # What redis-client calls a user without a name.
      DEFAULT_USER = "default"

      # Seconds. Whoever hands out tokens renews them at least a minute before they expire. One that is in hand when a
      # connection is cut may be used even where the interpreter is busy.
      REFRESH = 60

      def initialize
        @callables = []
      end

      # Asks the callables for the first time.
      #
      # @param details [Hash, nil] as {RedisDetails} has them, or one of their sentinels
      # @return [Hash, nil] the same with words for passwords, and numbers for those that can be asked for again
      def resolve(details)
        return unless details

        sentinels = details[:sentinels]
        sentinels &&= { **sentinels, servers: sentinels[:servers].map { |server| resolve(server) } }
        password = details[:password]
        number = add(password, details[:username]) if password.respond_to?(:call)
        password = ask(number) if number
        { **details, sentinels:, password: Secret.of(password), password_number: number }.extend(Secret::Holder)
      end

      # Answers the engine's questions until it stops. A thread of its own, because client middleware may keep the
      # one of {EventLoop} for long.
      #
      # @param engine [Native::Engine]
      # @return [void]
      def serve(engine)
        return if @callables.empty?

        Background.start("passwords") do
          while (number = engine.next_password_question)
            engine.answer_password(number, ask(number))
          end
        end
      end

      private

      # @return [Integer] by which it is asked for
      def add(callable, username)
        @callables << -> { callable.call(username || DEFAULT_USER)&.to_s }
        @callables.size - 1
      end

      def ask(number)
        @callables[number].call
      rescue *APPLICATION_ERRORS => e
        Log.warn { "the callable that gives Redis's password failed: #{e.class}" }
        nil
      end
    end
  end
end
