# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # What may stand in a log line or an error message. Whoever may push a job, start an instance or answer for a server
    # chooses texts that may hold line breaks and terminal codes, or megabytes, or be no text at all; and a URL may hold
    # a password, wherever it stands. `printable.rs` does the same for the lines of the engine.
    # @api private
    module Printable
      # Characters of one name or value.
      MOST = 200

      # Characters of the reason of something, or of a whole line.
      MOST_OF_A_LINE = 2_000

      # Control characters, and those that are not seen and change how others are read.
      UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/

      # Who logs in, in a URL. A password that is not encoded may hold any character but a space.
      LOGIN = %r{(?<=://)\S*(?=@)}

      # What these hold may be UTF-8 all the same.
      BYTES = [Encoding::BINARY, Encoding::US_ASCII].freeze

      # What can be shown of a setting that is none of these is its class.
      SCALARS = [String, Symbol, Numeric, NilClass, TrueClass, FalseClass].freeze

      module_function

      # @param value [Object] a jid, the name of a class, or anything else from a payload
      # @return [String] on one line, and cut
      def name(value)
        escape(cut(value, MOST))
      end

      # @param value [Object] the same
      # @return [String] with quotation marks where it is no plain word
      def quoted(value, most = MOST)
        text = cut(value, most)
        text.match?(/\A[\w:.@~-]+\z/) ? text : escape(text.inspect)
      end

      # @param text [String]
      # @return [String] fit to be logged
      def line(text)
        escape(cut(text, MOST_OF_A_LINE).gsub(LOGIN, "…"))
      end

      # What people add after the first line are pieces of programs and guesses at what was meant.
      #
      # @param error [Exception]
      # @return [String] class and message, on one line
      def error(error)
        message = utf8(error.message).each_line.map(&:strip).find { |line| !line.empty? }
        [error.class.name, *message].map { |part| name(part) }.join(": ")
      rescue StandardError
        error.class.name
      end

      # @param value [Object] of a setting
      # @return [String]
      def value(value)
        return "an instance of #{value.class}" if SCALARS.none? { |kind| value.is_a?(kind) }

        line(value.is_a?(String) ? cut(value, MOST).inspect : value.inspect)
      end

      # @api private
      def cut(value, most)
        text = value.to_s
        # Whatever its length, no more of it is looked at than can be shown.
        text = text.byteslice(0, 4 * (most + 1)) if text.bytesize > 4 * (most + 1)
        text = utf8(text)
        text.length > most ? "#{text[0, most]}…" : text
      end

      # @api private
      def utf8(text)
        return text.dup.force_encoding(Encoding::UTF_8).scrub if BYTES.include?(text.encoding)

        text.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).scrub
      rescue EncodingError
        text.dup.force_encoding(Encoding::UTF_8).scrub
      end

      # @api private
      def escape(text)
        text.gsub(UNSAFE) { |character| character.dump[1..-2] }
      end
    end
  end
end
