# frozen_string_literal: true

require_relative "../support/connections"

RSpec.describe "A connection with TLS", :connection do
  def authority
    @authority ||= Certificates.new.tap { |certificates| made << certificates }
  end

  def made
    @made ||= []
  end

  after { made.each(&:remove) }

  # @yieldparam port [Integer] where TLS is spoken
  def with_server(cert, key, clients: "no")
    port = free_port
    server = RedisServer.new("--tls-port", port.to_s, "--tls-cert-file", cert, "--tls-key-file", key,
                             "--tls-ca-cert-file", authority.ca_file, "--tls-auth-clients", clients)
    yield port, server
  ensure
    server&.remove
  end

  def with_usual_server(clients: "no", &block)
    with_server(*authority.issue("server"), clients:, &block)
  end

  it "is made where the private authority is named, as file or as directory" do
    with_usual_server do |port|
      url = "rediss://127.0.0.1:#{port}"
      expect(look(url:, ssl_params: { ca_file: authority.ca_file })).to eq(0)
      expect(look(url:, ssl_params: { ca_path: authority.ca_path })).to eq(0)
      expect(look(host: "localhost", port:, ssl: true, ssl_params: { "ca_file" => authority.ca_file })).to eq(0)
    end
  end

  it "is refused where another authority is trusted, and where only the system's are" do
    other = Certificates.new("Another authority").tap { |certificates| made << certificates }
    with_usual_server do |port|
      url = "rediss://127.0.0.1:#{port}"
      message = /certificate.*(UnknownIssuer|BadSignature).*\(127.0.0.1:#{port}\)/
      expect { look(url:, ssl_params: { ca_file: other.ca_file }) }.to fail_to_connect(message)
      expect { look(url:) }.to fail_to_connect(/certificate/)
    end
  end

  it "is refused where the server's certificate has expired" do
    expired = authority.issue("expired", from: Time.now - (48 * Certificates::HOUR))
    with_server(*expired) do |port|
      url = "rediss://127.0.0.1:#{port}"
      expect { look(url:, ssl_params: { ca_file: authority.ca_file }) }.to fail_to_connect(/expired/)
      expect(look(url:, ssl_params: { verify_mode: OpenSSL::SSL::VERIFY_NONE })).to eq(0)
    end
  end

  it "is refused where the certificate bears another name, unless names do not matter" do
    with_server(*authority.issue("other", names: "DNS:redis.example")) do |port|
      options = { host: "localhost", port:, ssl: true }
      params = { ca_file: authority.ca_file }
      expect { look(**options, ssl_params: params) }.to fail_to_connect(/not valid for name "localhost"/)
      expect(look(**options, ssl_params: { **params, verify_hostname: false })).to eq(0)
      expect(look(**options, ssl_params: { verify_mode: 0 })).to eq(0)
      wrong_ca = { ca_file: Certificates.new.tap { |certificates| made << certificates }.ca_file }
      expect { look(**options, ssl_params: { **wrong_ca, verify_hostname: false }) }.to fail_to_connect(/certificate/)
    end
  end

  it "is made to a server whose certificate has signed itself, where that very one is trusted" do
    cert, key = authority.issue_own
    with_server(cert, key) do |port|
      url = "rediss://127.0.0.1:#{port}"
      expect(look(url:, ssl_params: { ca_file: cert })).to eq(0)
      expect { look(url:, ssl_params: { ca_file: authority.ca_file }) }.to fail_to_connect(/certificate/)
      expect { look(host: "localhost", port:, ssl: true, ssl_params: { ca_file: cert }) }.to fail_to_connect(/name/)
    end
    cert, key = authority.issue_own(from: Time.now - (48 * Certificates::HOUR))
    with_server(cert, key) do |port|
      expect { look(url: "rediss://127.0.0.1:#{port}", ssl_params: { ca_file: cert }) }.to fail_to_connect(/expired/)
    end
  end

  it "shows a certificate where the server requires one" do
    cert, key = authority.issue("client", key: OpenSSL::PKey::EC.generate("prime256v1"))
    with_usual_server(clients: "yes") do |port|
      options = { url: "rediss://127.0.0.1:#{port}" }
      params = { ca_file: authority.ca_file }
      expect { look(**options, ssl_params: params) }.to fail_to_connect(/alert: CertificateRequired|reset|closed/)
      objects = { cert: OpenSSL::X509::Certificate.new(File.read(cert)), key: OpenSSL::PKey.read(File.read(key)) }
      [{ cert:, key: }, { cert: File.read(cert), key: File.read(key) }, objects].each do |pair|
        expect(look(**options, ssl_params: { **params, **pair })).to eq(0)
        expect(ping({ **options, ssl_params: { **params, **pair } })).to eq("PONG")
      end
    end
  end

  it "speaks the versions that it is told" do
    cert, key = authority.issue("server")
    port = free_port
    old = RedisServer.new("--tls-port", port.to_s, "--tls-cert-file", cert, "--tls-key-file", key,
                          "--tls-ca-cert-file", authority.ca_file, "--tls-auth-clients", "no",
                          "--tls-protocols", "TLSv1.2")
    options = { url: "rediss://127.0.0.1:#{port}" }
    params = { ca_file: authority.ca_file }
    expect(look(**options, ssl_params: params)).to eq(0)
    expect(look(**options, ssl_params: { **params, max_version: "TLS1_2" })).to eq(0)
    expect { look(**options, ssl_params: { **params, min_version: "TLS1_3" }) }.to fail_to_connect(/ProtocolVersion/)
  ensure
    old&.remove
  end

  it "serves a whole process, which fetches, runs and releases through it" do
    with_usual_server do |port, server|
      plain = Redis.new(url: server.url)
      AnySidekiq.redis = { url: server.url }
      options = { url: "rediss://127.0.0.1:#{port}", ssl_params: { ca_file: authority.ca_file } }
      process = start_connected(options)
      wait_until("it says which way is on") { process.log.include?("by assured fetch") }
      push("AssuredJob", "a", 0)
      wait_until("the job ends") { plain.hget("journal:finished", "a") == "1" }
      wait_until("nothing is in flight") { plain.keys(key("job:*")).empty? }
      expect(plain.client(:list).map { |client| client["name"] }).to include("sidekiq-assured-jobs:heartbeat")
    ensure
      processes.each(&:kill)
      plain&.close
    end
  end

  it "boots where redis_options name an authority that is not the server's, and says so once" do
    other = Certificates.new("Another authority").tap { |certificates| made << certificates }
    with_usual_server do |port|
      options = JSON.generate(url: "rediss://127.0.0.1:#{port}", ssl_params: { ca_file: other.ca_file })
      process = spawn_sidekiq(env: { "ASSURED_JOBS_REDIS_OPTIONS" => options, "ASSURED_JOBS_TRACK_TIMEOUT" => "0.2" })
      push("AssuredJob", "a", 0)
      wait_until("the job runs all the same", within: 30) { finished.key?("a") }
      expect(process.log.scan("Redis fails").size).to eq(1)
      expect(process.log).to match(/Redis fails \(connect: invalid peer certificate/)
    end
  end
end
