# frozen_string_literal: true

require_relative "../support/connections"
require_relative "../support/sentinels"

# Sidekiq 7 and 8 bring redis-client. Elsewhere, REDIS_CLIENT_PATH may name its lib directory.
begin
  $LOAD_PATH.unshift(ENV["REDIS_CLIENT_PATH"]) if ENV["REDIS_CLIENT_PATH"]
  require "redis_client"
rescue LoadError
  nil
end

RSpec.describe "What redis-client knows of a connection", :connection do
  before do
    skip "redis-client is not here; REDIS_CLIENT_PATH may name its lib directory" unless defined?(RedisClient::Config)
  end

  def read(config)
    Sidekiq::AssuredJobs::RedisDetails.of_connection(config.new_client, "Sidekiq's Redis")
  end

  def redis_client(**options)
    RedisClient.config(**options)
  end

  def look_by(config)
    tracking = Sidekiq::AssuredJobs::Passwords.new.resolve(read(config))
    Sidekiq::AssuredJobs::Native.instances(settings.merge(tracking:)).size
  end

  it "is place, database and login" do
    config = redis_client(url: "redis://me:p%2Bw@[::1]:7/3", id: "billing", timeout: 2, read_timeout: 4)
    expect(read(config)).to include(
      host: "::1", port: 7, path: nil, sentinels: nil, tls: nil, db: 3, username: "me", client_name: "billing",
      username_optional: false, connect_timeout: 2.0, read_timeout: 4.0, write_timeout: 2.0, key_prefix: ""
    )
    expect(read(config)[:password].then { |it| it.respond_to?(:call) ? it.call("me") : it }).to eq("p+w")
    expect(read(redis_client(url: "unix:///run/redis.sock?db=4"))).to include(path: "/run/redis.sock", db: 4, host: nil)
    expect(read(redis_client(password: "p"))).to include(username: nil)
  end

  it "gives a callable on, to be asked at each reconnect" do
    names = []
    config = redis_client(host: "127.0.0.1", username: "me", password: ->(name) { "#{names << name}#{names.size}" })
    passwords = Sidekiq::AssuredJobs::Passwords.new
    resolved = passwords.resolve(read(config))
    expect(resolved).to include(password: '["me"]1', password_number: 0)
    expect(names).to eq(["me"])
  end

  it "is enough to get in, with an ACL user and in database 3" do
    server = RedisServer.new
    admin = Redis.new(url: server.url(3))
    admin.call("ACL", "SETUSER", "app", "on", "+@all", "~*", ">a+b@c/d%e")
    admin.hset(key("instances"), "one", "{}")
    place = { host: "127.0.0.1", port: server.port, db: 3 }
    expect(look_by(redis_client(**place, username: "app", password: "a+b@c/d%e"))).to eq(1)
    expect(look_by(redis_client(**place, username: "app", password: ->(_) { "a+b@c/d%e" }))).to eq(1)
    expect(look_by(redis_client(url: "redis://app:a%2Bb%40c%2Fd%25e@127.0.0.1:#{server.port}/3"))).to eq(1)
    admin.config(:set, "requirepass", "alone")
    expect(look_by(redis_client(**place, password: "alone"))).to eq(1)
  ensure
    admin&.close
    server&.remove
  end

  it "is enough for TLS with a private authority and a certificate of one's own, whose files are named" do
    authority = Certificates.new
    server_cert, server_key = authority.issue("server")
    cert, key = authority.issue("client")
    port = free_port
    server = RedisServer.new("--tls-port", port.to_s, "--tls-cert-file", server_cert, "--tls-key-file", server_key,
                             "--tls-ca-cert-file", authority.ca_file, "--tls-auth-clients", "yes")
    config = redis_client(url: "rediss://127.0.0.1:#{port}", ssl_params: { ca_file: authority.ca_file, cert:, key: })
    expect(look_by(config)).to eq(0)
    expect(config.new_client.call("PING")).to eq("PONG")
    # Renewed while the process runs: the file is read at each connection.
    tls = read(config)[:tls]
    expect(tls).to include(cert: { file: cert, text: be_a(String) }, key: { file: key, text: be_a(String) })
  ensure
    server&.remove
    authority&.remove
  end

  it "finds the master through sentinels with credentials of their own, without asking them from Ruby" do
    sentinels = Sentinels.new
    servers = sentinels.ports.map { |port| { host: "127.0.0.1", port: } }
    config = RedisClient.sentinel(name: "mymaster", password: "data", sentinel_username: "default",
                                  sentinel_password: "watch", sentinels: servers, role: :master, db: 0)
    sentinels.client.hset(key("instances"), "one", "{}")
    expect(look_by(config)).to eq(1)
    expect(config).not_to be_resolved
    expect(read(config)[:sentinels]).to include(master: "mymaster", servers: satisfy { |all| all.size == 3 })
  ensure
    sentinels&.remove
  end

  it "becomes the same for redis_options, in redis-rb's spelling, too" do
    of = ->(options) { read(Sidekiq::AssuredJobs::RedisOptions.redis_client_config(options)) }
    servers = [{ "host" => "a", "port" => 1, "password" => "s" }]
    one = of.call(url: "redis://:p@mymaster", role: "master", sentinels: servers, network_timeout: 2, size: 5)
    other = of.call("host" => "mymaster", "password" => "p", "sentinels" => servers, "timeout" => 2)
    expect([one, other].map { |details| details[:sentinels][:master] }).to eq(%w[mymaster mymaster])
    expect(one).to include(connect_timeout: 2.0, db: 0)
    expect(of.call(scheme: "rediss", host: "b",
                   port: 2)).to include(host: "b", port: 2, tls: include(verify_peer: true))
    expect { of.call(nodes: []) }.to refuse(/redis_options: nodes is not supported/)
    expect { of.call(connector: Object) }.to refuse(/redis_options: connector is not known to redis-client/)
  end

  describe "that the engine cannot honour is refused by name:" do
    it "a driver" do
      strange = stub_const("Strange", Class.new(RedisClient::RubyConnection))
      RedisClient.register_driver(:strange) { strange }
      expect { read(redis_client(driver: :strange)) }.to refuse(/Sidekiq's Redis: driver Strange is not supported/)
    end

    it "what changes commands" do
      builder = stub_const("Prefixing", Module.new { extend RedisClient::CommandBuilder })
      expect { read(redis_client(command_builder: builder)) }.to refuse(/command_builder Prefixing is not supported/)
    end

    it "what changes how to connect, and nothing that only watches the calls" do
      elsewhere = stub_const("Elsewhere", Module.new { def connect(*) = :elsewhere })
      watching = stub_const("Watching", Module.new { def call(*) = :watched })
      expect { read(redis_client(middlewares: [elsewhere])) }.to refuse(/middlewares: Elsewhere is not supported/)
      expect(read(redis_client(middlewares: [watching], circuit_breaker: { error_threshold: 3, error_timeout: 1 })))
        .to include(port: 6379)
    end

    it "a cert_store, TLS on a unix socket, the role of a replica" do
      store = OpenSSL::X509::Store.new
      expect { read(redis_client(ssl: true, ssl_params: { cert_store: store })) }.to refuse(/ssl_params\[:cert_store\]/)
      expect { read(redis_client(path: "/nowhere", ssl: true)) }.to refuse(/ssl is not supported on a unix socket/)
      config = RedisClient.sentinel(name: "mymaster", role: :replica, sentinels: [{ host: "127.0.0.1", port: 1 }])
      expect { read(config) }.to refuse(/role replica is not supported/)
    end
  end
end
