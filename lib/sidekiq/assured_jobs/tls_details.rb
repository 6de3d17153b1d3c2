# frozen_string_literal: true

require "openssl"
require_relative "errors"
require_relative "printable"
require_relative "secret"

module Sidekiq
  module AssuredJobs
    # How the engine speaks TLS, read from the `ssl_params` of either Redis client. What it cannot honour is refused
    # by name.
    class TlsDetails
      include Secret::Holder

      # As OpenSSL counts versions, and as the engine does.
      VERSIONS = { 0x0300 => 3, 0x0301 => 10, 0x0302 => 11, 0x0303 => 12, 0x0304 => 13 }.freeze
      # Names of versions, without TLS and v before and points between.
      NAMES = { "1" => 10, "1_0" => 10, "1_1" => 11, "1_2" => 12, "1_3" => 13 }.freeze
      # Values of `ssl_version` that mean any version, none included.
      ANY = ["", "TLS", "TLS_client", "SSLv23", "SSLv23_client"].freeze
      # What can be said to each option that is refused.
      ADVICE = Hash.new("the engine has no such option").merge(
        cert_store: "name the authorities by ca_file or ca_path",
        ciphers: "the engine chooses among those of TLS 1.2 and 1.3 that are safe",
        ciphersuites: "the engine chooses among those of TLS 1.3",
        verify_callback: "the engine cannot call Ruby"
      ).freeze

      # @param params [Hash, nil]
      # @param origin [String] where they come from, for error messages
      # @return [Hash]
      # @raise [ConfigurationError]
      def self.of(params, origin)
        new(params || {}, origin).to_h
      end

      # @param params [Hash]
      # @param origin [String]
      def initialize(params, origin)
        @params = params.transform_keys(&:to_sym).compact
        @origin = origin
        exact = @params.delete(:ssl_version)
        @params = { min_version: exact, max_version: exact, **@params } unless ANY.include?(exact.to_s)
      end

      # @return [Hash]
      # @raise [ConfigurationError]
      def to_h
        read = { ca_file: file(:ca_file), ca_path: file(:ca_path), **client, **verification, **versions }
        unknown = (@params.keys - KNOWN).first
        refuse(unknown, "is not supported: #{ADVICE[unknown]}") if unknown
        read
      end

      KNOWN = %i[ca_file ca_path cert key extra_chain_cert verify_mode verify_hostname min_version max_version].freeze
      private_constant :KNOWN

      private

      def refuse(name, why)
        raise ConfigurationError, Printable.line("#{@origin}: ssl_params[:#{name}] #{why}"), cause: nil
      end

      def file(name)
        path = @params[name]&.to_s
        refuse(name, "is #{Printable.value(path)}, which cannot be read") if path && !File.readable?(path)
        path
      end

      def client
        cert = pem(:cert) { |text| OpenSSL::X509::Certificate.new(text) }
        # With an empty password, since OpenSSL would ask at the terminal for one.
        key = pem(:key) { |text| OpenSSL::PKey.read(text, "") }
        refuse(cert ? :key : :cert, "is missing, which belongs to the other one") unless cert.nil? == key.nil?
        { cert: with_chain(cert), key: }
      end

      # @return [Hash, nil] a file, which is read again at each connection, or text
      def pem(name)
        given = @params[name]
        return unless given
        return { file: nil, text: Secret.of(export(given)) } unless given.is_a?(String)

        from_file = File.exist?(given)
        text = from_file ? File.read(given) : given
        parsed = yield text
        return { file: nil, text: Secret.of(export(parsed)) } unless text.include?("-----BEGIN")

        { file: (given if from_file), text: Secret.of(text) }
      rescue OpenSSL::OpenSSLError, SystemCallError => e
        refuse(name, "cannot be read: #{e.class}")
      end

      def export(object)
        return object.private_to_pem if object.respond_to?(:private_to_pem)

        object.to_pem
      end

      def with_chain(cert)
        chain = Array(@params[:extra_chain_cert])
        return cert if cert.nil? || chain.empty?

        text = cert[:file] ? File.read(cert[:file]) : cert[:text]
        { file: nil, text: Secret.of([text, *chain.map(&:to_pem)].join("\n")) }
      end

      def verification
        mode = @params.fetch(:verify_mode, OpenSSL::SSL::VERIFY_PEER)
        unless mode.is_a?(Integer)
          allowed = "OpenSSL::SSL::VERIFY_PEER or VERIFY_NONE (1 or 0)"
          refuse(:verify_mode, "is #{Printable.value(mode)}, but must be #{allowed}")
        end
        { verify_peer: mode != OpenSSL::SSL::VERIFY_NONE, verify_hostname: @params[:verify_hostname] != false }
      end

      def versions
        least = version(:min_version) || 12
        most = version(:max_version) || 13
        refuse(:max_version, "or ssl_version is too low: the engine speaks TLS 1.2 and 1.3") if most < 12
        refuse(:max_version, "is below min_version") if most < least
        { min_version: [least, 12].max, max_version: most }
      end

      def version(name)
        value = @params[name]
        return unless value

        known = value.is_a?(Integer) ? VERSIONS[value] : NAMES[value.to_s.sub(/\ATLSv?/, "").tr(".", "_")]
        known || refuse(name, "is #{Printable.value(value)}, which is no version of TLS that the engine speaks")
      end
    end
  end
end
