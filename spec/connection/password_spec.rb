# frozen_string_literal: true

require_relative "../support/connections"

RSpec.describe "A password", :connection do
  let(:server) { RedisServer.new }
  let(:admin) { Redis.new(url: server.url) }

  after do
    processes.each(&:kill)
    admin.close
    server.remove
  end

  def set_user(password, name: "app")
    admin.call("ACL", "SETUSER", name, "reset", "on", "+@all", "~*", ">#{password}")
  end

  def kill_connections
    admin.call("CLIENT", "KILL", "USER", "app")
  end

  describe "with + @ / % and other characters in it" do
    let(:password) { "a+b@c/d%e:f?g h&ü" }

    before { set_user(password) }

    it "is the same in a field and encoded in a url, for redis_options and for Sidekiq's own Redis" do
      place = { host: "127.0.0.1", port: server.port, username: "app" }
      url = "redis://app:#{URI.encode_www_form_component(password)}@127.0.0.1:#{server.port}"
      expect(look(**place, password:)).to eq(0)
      expect(look(url:)).to eq(0)
      expect { look(**place, password: password.chop) }.to fail_to_connect(/WRONGPASS/)

      AnySidekiq.redis = { url: }
      start_connected({ url: })
      push("AssuredJob", "a", 0)
      wait_until("the job ends") { admin.hget("journal:finished", "a") == "1" }
      expect(admin.client(:list).select { |client| client["user"] == "app" }.map { |client| client["name"] })
        .to include("sidekiq-assured-jobs:heartbeat")
    end
  end

  it "of the default user is right for any name, as redis-rb has it" do
    skip "redis-client sends the name, as it is" unless Sidekiq::VERSION.to_i == 6

    admin.config(:set, "requirepass", "right")
    expect(look(url: "redis://anybody:right@127.0.0.1:#{server.port}")).to eq(0)
    expect { look(url: "redis://anybody:wrong@127.0.0.1:#{server.port}") }.to fail_to_connect(/WRONGPASS/)
    expect { look(url: server.url) }.to fail_to_connect(/NOAUTH|unauthenticated/)
  end

  it "is there for Ruby's own connection, too, when a callable gives it" do
    set_user("right")
    options = { url: server.url, username: "app", password: ->(name) { { "app" => "right" }[name] } }
    expect(ping(options)).to eq("PONG")
    expect(look(options)).to eq(0)
  end

  it "is not in what people read" do
    set_user("right")
    log = spawn_sidekiq(app: Connections::APP, env: {
                          "ASSURED_JOBS_REDIS_OPTIONS" => JSON.generate(url: server.url, password: "sesame")
                        })
    wait_until("it complains") { log.log.include?("Redis fails") }
    expect(log.log).not_to include("sesame")
  end

  describe "that a callable gives" do
    let(:file) { Tempfile.new("password").tap { |file| file.write("first") && file.flush } }

    before do
      set_user("first")
      start_sidekiq(app: Connections::APP,
                    env: { "SPEC_PASSWORD_FILE" => file.path, "SPEC_TRACKING_URL" => server.url,
                           # A third of it may pass until Ruby has answered, before that counts as an outage.
                           "ASSURED_JOBS_HEARTBEAT_TTL" => "6" })
    end

    def connected
      admin.client(:list).select { |client| client["user"] == "app" }.map { |client| client["name"] }
    end

    def beat
      admin.keys(key("instance:*")).map { |name| admin.get(name).to_f }.max.to_f
    end

    def asked
      File.readlines("#{file.path}.asked", chomp: true)
    end

    it "is asked for anew, with the name, when the old one is refused" do
      expect(asked).to include("app")
      set_user("second")
      File.write(file.path, "second")
      kill_connections
      now = beat
      wait_until("it beats under the new password") { beat > now && connected.any? }
      expect(registered_there.size).to eq(1)
      push("AssuredJob", "a", 0)
      wait_until("a job is tracked and released") { finished.key?("a") && admin.keys(key("job:*")).empty? }
      expect(processes.first.log).not_to match(/declared dead|Redis fails|first|second/)
    end

    it "is found once the callable knows it, if it does not at first" do
      set_user("second")
      kill_connections
      wait_until("it says so") { processes.first.log.include?("WRONGPASS") }
      File.write(file.path, "second")
      wait_until("it beats again", within: 20) { connected.include?("sidekiq-assured-jobs:heartbeat") }
      expect(processes.first.log.scan("Redis fails").size).to eq(1)
    end

    it "does not keep a process whose interpreter is busy from beating on a new connection" do
      push("AssuredJob", "first", 0)
      wait_until("all threads are connected") { finished.key?("first") }
      first = beat
      wait_until("the last answer is not fresh any more") { beat > first + 1.5 }
      push("LockHoldingJob", "busy", 4, 300)
      wait_until("it holds the lock") { started.key?("busy") && redis.exists?("control:beat") }
      wait_until("no Ruby thread runs") { !redis.exists?("control:beat") }
      before = asked.size
      kill_connections
      beats = []
      wait_until("the job ends", within: 20) do
        beats << beat
        finished.key?("busy")
      end
      expect(beats).to all(be_positive)
      expect(beats.uniq.size).to be >= 4
      wait_until("it was asked later") { asked.size > before }
    end

    def registered_there
      admin.hkeys(key("instances"))
    end
  end
end
