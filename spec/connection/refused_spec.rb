# frozen_string_literal: true

require_relative "../support/connections"

# The words are those of redis-rb 4, which Sidekiq 6 uses; redis_client_spec.rb has redis-client's.
return unless Sidekiq::VERSION.to_i == 6

require "redis/connection/ruby"

RSpec.describe "A Redis option that the engine cannot honour", :connection do
  let(:tls) { { url: "rediss://127.0.0.1" } }

  def self.refuses(what, message, options)
    it "is refused by name: #{what}" do
      expect { settings(instance_exec(&options)) }.to refuse(message)
    end
  end

  refuses("nodes", /redis_options: nodes is not supported/, -> { { nodes: ["redis://127.0.0.1"] } })
  refuses("cluster", /redis_options: cluster is not supported/, -> { { "cluster" => ["redis://127.0.0.1"] } })
  refuses("namespace", /redis_options: namespace is not supported: the setting/, -> { { namespace: "app" } })
  refuses("a misspelt one", /redis_options: pasword is not known/, -> { { pasword: "p" } })
  refuses("a url that is none", /redis_options: .*scheme/, -> { { url: "http://127.0.0.1" } })
  refuses("a driver", /redis_options: driver .*Strange is not supported/,
          -> { { driver: stub_const("Strange", Class.new(Redis::Connection::Ruby)) } })
  refuses("a connector", /redis_options: connector .*Elsewhere is not supported/,
          -> { { connector: stub_const("Elsewhere", Class.new(Redis::Client::Connector)) } })
  refuses("the role of a replica", /redis_options: role slave is not supported/,
          -> { { url: "redis://mymaster", role: :slave, sentinels: [{ host: "127.0.0.1", port: 1 }] } })
  refuses("TLS on a unix socket", /redis_options: ssl is not supported on a unix socket/,
          -> { { path: "/nowhere", ssl: true } })

  {
    cert_store: OpenSSL::X509::Store.new, ciphers: "HIGH", verify_callback: -> {}, options: 0,
    ca_file: "/no/such/file", ca_path: "/no/such/directory", verify_mode: "none", cert: "no certificate",
    min_version: "SSL9", max_version: "TLS1_1"
  }.each do |name, value|
    refuses("ssl_params[:#{name}]", /redis_options: ssl_params\[:#{name}\] /,
            -> { { **tls, ssl_params: { name => value } } })
  end

  refuses("a certificate without its key", /ssl_params\[:key\] is missing/,
          -> { { **tls, ssl_params: { cert: (@made = Certificates.new).certificate } } })

  after { @made&.remove }

  it "is refused as Sidekiq's own, too, and ends the boot" do
    app = File.expand_path("../support/connection_app.rb", __dir__)
    options = { url: "rediss://127.0.0.1:1", ssl_params: { ciphers: "HIGH" } }
    AnySidekiq.redis = options
    expect { settings }.to refuse(/Sidekiq's Redis: ssl_params\[:ciphers\] is not supported/)

    process = spawn_sidekiq(app:, env: { "ASSURED_JOBS_REDIS_OPTIONS" => JSON.generate(options) })
    expect(process.wait_for_exit).not_to be_success
    expect(process.log).to match(/ConfigurationError.*redis_options: ssl_params\[:ciphers\]/)
  end
end
