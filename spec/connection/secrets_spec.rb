# frozen_string_literal: true

require "pp" # rubocop:disable Lint/RedundantRequireStatement -- `pretty_inspect` is in there
require_relative "../support/certificates"
require_relative "../support/connections"

RSpec.describe "A password", :connection do
  secret = "s3cr3t-p4ss"
  key = "-----BEGIN PRIVATE KEY-----#{secret}-----END PRIVATE KEY-----"
  raising = ->(_) { raise "cannot ask for #{secret}" }
  url = "redis://app:#{secret}@127.0.0.1:1/0"
  tls = "rediss://app:#{secret}@127.0.0.1:1/0"

  # Malformed options, or those of the wrong type. All of them lead to an error, or to settings that can be inspected.
  malformed = [
    { url: "redis://app:#{secret}@127.0.0.1 1/0" }, { url: "redis://:#{secret}@[::1" }, { url: [url] },
    { url: { url => 1 } },
    { url: "http://app:#{secret}@127.0.0.1" }, { url: "redis://app:#{secret}:x@127.0.0.1:99999999/0" },
    { url:, db: secret }, { url:, port: secret }, { url:, password: [secret] }, { url:, password: { a: secret } },
    { url:, username: [secret] }, { url:, timeout: secret }, { url:, driver: secret }, { url:, role: secret },
    { url:, sentinels: url }, { url:, sentinels: [url, 7] }, { url:, sentinels: [{ host: url, port: secret }] },
    { url:, sentinels: { host: "h", password: secret } }, { name: "m", sentinels: [[secret]] },
    { url:, ssl_params: secret }, { url:, ssl: true, ssl_params: [secret] },
    { url: tls, ssl_params: { key: } }, { url: tls, ssl_params: { cert: key, key: } },
    { url: tls, ssl_params: { ca_file: url } },
    { url: tls, ssl_params: { verify_mode: url } },
    { url: tls, ssl_params: { min_version: { a: secret } } },
    { url: tls, ssl_params: { url => 1 } },
    { host: url, port: 1 }, { path: url }, { url => 1 }, { 7 => secret }, { url:, pasword: secret },
    { url:, secret => 1 },
    { host: "127.0.0.1", port: 1, password: raising }, { url:, connector: secret }, { url:, middlewares: [secret] },
    { url:, id: url, sentinel_password: secret, sentinels: [7] }, { url:, reconnect_attempts: secret }
  ]

  # @return [Array<String>] all that people may get to see of an error
  def words_of(error)
    words = [error.message, error.inspect, error.full_message(highlight: false)]
    words.map { |word| word.dup.force_encoding("UTF-8").scrub } + (error.cause ? words_of(error.cause) : [])
  end

  # @return [Array<String>] all that people may get to see of an object
  def looks_of(object)
    missing = begin
      object.no_such_method
    rescue NoMethodError => e
      e
    end
    [object.inspect, object.pretty_inspect, "#{object.class}: #{[object]}", *words_of(missing)]
  end

  def said(&)
    output = StringIO.new
    before = Sidekiq::AssuredJobs.configuration.logger
    Sidekiq::AssuredJobs.logger = Logger.new(output)
    words = [*yield]
    [*words, output.string]
  rescue *Sidekiq::AssuredJobs::APPLICATION_ERRORS => e
    [*words_of(e), output.string]
  ensure
    Sidekiq::AssuredJobs.logger = before
  end

  # What a client of the application's says when it connects is its own.
  def refusal_of(options)
    ping(options)
  rescue Sidekiq::AssuredJobs::ConfigurationError
    raise
  rescue *Sidekiq::AssuredJobs::APPLICATION_ERRORS
    []
  end

  malformed.each_with_index do |options, index|
    it "is in no words about options that are malformed (#{index}: #{options.keys.join(", ").gsub(secret, "…")})" do
      words = said { looks_of(settings(options)) } +
              said { look(options).to_s } +
              said { refusal_of(options) }
      expect(words.join("\n")).not_to include(secret)
    end
  end

  {
    "ASSURED_JOBS_REDIS_OPTIONS" => [
      %({"url":"#{url}",), url, %("#{secret}"), %(["#{url}"]), %({"password":"#{secret}"}}), "{password: #{secret}}"
    ],
    "ASSURED_JOBS_HEARTBEAT_TTL" => [url], "ASSURED_JOBS_FETCH" => [url], "ASSURED_JOBS_MAX_RECOVERIES" => [url]
  }.each do |variable, texts|
    texts.each_with_index do |text, index|
      it "is in no words about a malformed #{variable} (#{index})" do
        configuration = Sidekiq::AssuredJobs::Configuration.new(environment: { variable => text })
        expect { configuration.validate! }.to raise_error(Sidekiq::AssuredJobs::ConfigurationError) { |error|
          expect(words_of(error).join).not_to include(secret)
          expect(error.message).to include(variable)
        }
        expect(looks_of(configuration).join).not_to include(secret)
      end
    end
  end

  it "is in no view of a configuration, of what the engine is told, or of what holds either" do
    configuration = Sidekiq::AssuredJobs::Configuration.new(environment: { "OTHER" => secret })
    configuration.redis_options = { url:, password: secret, sentinel_password: secret }
    certificates = Certificates.new
    cert, key = certificates.issue("client").map { |path| File.read(path) }
    client = { cert:, key: }
    options = { url: "rediss://app:#{secret}@127.0.0.1:1", ssl_params: client }
    text = client[:key].lines[1].strip

    words = looks_of(configuration) + looks_of(settings(options)) + looks_of(details(options)) +
            looks_of(settings(options)[:passwords]) + looks_of(details(options)[:tls])
    expect(words.join("\n")).not_to include(secret)
    expect(words.join("\n")).not_to include(text)
    expect(details(options)[:password]).to eq(secret)
  ensure
    certificates&.remove
  end

  it "is in no line about a server that repeats what it was told" do
    server = TCPServer.new("127.0.0.1", 0)
    repeating = Thread.new do
      loop do
        client = server.accept
        told = client.readpartial(1000).split("\r\n").grep_v(/\A[*$]/).map { |word| "'#{word}'" }.join(" ")
        client.write("-ERR unknown command 'AUTH', with args beginning with: #{told}\r\n")
      rescue EOFError, SystemCallError
        next
      end
    end
    words = said { look(host: "127.0.0.1", port: server.addr[1], username: "app", password: secret).to_s }
    expect(words.join).to include("unknown command").and exclude(secret)
  ensure
    repeating&.kill
    server&.close
  end

  RSpec::Matchers.define_negated_matcher :exclude, :include

  it "is not in the log of a process that does not boot with it" do
    process = spawn_sidekiq(env: { "ASSURED_JOBS_REDIS_OPTIONS" => %({"url":"#{url}") })
    expect(process.wait_for_exit).not_to be_success
    expect(process.log).to include("ASSURED_JOBS_REDIS_OPTIONS").and exclude(secret)
  end
end
