# frozen_string_literal: true

require "fileutils"
require "openssl"
require "tmpdir"

# A private authority and what it signs, in files of a directory of their own.
class Certificates
  HOUR = 3600

  attr_reader :certificate

  # @param subject [String] the authority's common name
  def initialize(subject = "A private authority")
    @dir = Dir.mktmpdir("assured-certificates")
    @key = OpenSSL::PKey::EC.generate("prime256v1")
    @certificate = build(subject, @key, issuer: nil, names: nil)
    write("ca.pem", @certificate.to_pem)
  end

  def ca_file
    File.join(@dir, "ca.pem")
  end

  # @param names [String] who may bear the certificate that the authority gives itself
  # @return [Array<String>] the files with it and its key
  def issue_own(names: "IP:127.0.0.1", from: Time.now - HOUR)
    certificate = build("itself", @key, issuer: nil, names:, from:, authority: true)
    [write("own.pem", certificate.to_pem), write("own.key", @key.private_to_pem)]
  end

  # A directory as `openssl rehash` makes it.
  def ca_path
    path = File.join(@dir, "hashed")
    unless File.exist?(path)
      FileUtils.mkdir(path)
      FileUtils.cp(ca_file, File.join(path, format("%08x.0", @certificate.subject.hash)))
    end
    path
  end

  # @param name [String] of the files
  # @param names [String] who may bear the certificate
  # @param from [Time] since when it is valid, for a day
  # @param key [OpenSSL::PKey::PKey]
  # @return [Array<String>] the files with the certificate and its key
  def issue(name, names: "IP:127.0.0.1,IP:::1,DNS:localhost", from: Time.now - HOUR,
            key: OpenSSL::PKey::RSA.new(2048))
    certificate = build(name, key, issuer: @certificate, names:, from:)
    [write("#{name}.pem", certificate.to_pem), write("#{name}.key", key.private_to_pem)]
  end

  def remove
    FileUtils.remove_entry(@dir)
  end

  private

  def write(name, text)
    File.join(@dir, name).tap { |path| File.write(path, text) }
  end

  def build(subject, key, issuer:, names:, authority: names.nil?, from: Time.now - HOUR) # rubocop:disable Metrics/ParameterLists
    certificate = OpenSSL::X509::Certificate.new
    certificate.version = 2
    certificate.serial = rand(1..1_000_000_000)
    certificate.subject = OpenSSL::X509::Name.new([["CN", subject]])
    certificate.issuer = (issuer || certificate).subject
    certificate.public_key = key
    certificate.not_before = from
    certificate.not_after = from + (24 * HOUR)
    extensions = { "basicConstraints" => "CA:#{authority}", "subjectAltName" => names }.compact
    factory = OpenSSL::X509::ExtensionFactory.new(issuer || certificate, certificate)
    extensions.each { |name, value| certificate.add_extension(factory.create_extension(name, value)) }
    certificate.sign(@key, OpenSSL::Digest.new("SHA256"))
  end
end
