# frozen_string_literal: true

require "tempfile"

# Sidekiq's own formatter and its own lines show jids as they are; so these lines go into a file of their own.
RSpec.describe "A log line" do
  let(:app) { File.expand_path("../support/hostile_app.rb", __dir__) }
  let(:file) { Tempfile.new("lines") }
  # A forged line, colours, the other direction, a hidden character, and more of all that than a line can take.
  let(:hostile) { "x\nE, [2026] FATAL: forged\r\e[31mred\u202Eder\u200B\u2028#{"y" * 10_000}" }
  # Ids and names of records may be any bytes.
  let(:bytes) { "\xFF\n\e[0m\x00#{"z" * 10_000}".b }

  def start_hostile
    env = { "SPEC_HOSTILE" => hostile, "SPEC_LINES" => file.path, "ASSURED_JOBS_MAX_RECOVERIES" => "1" }
    start_process(app:, env:, args: ["-c", "2", "-q", "default"])
  end

  def start_process(**options)
    spawn_sidekiq(**options).tap { wait_until("it has registered") { registered.any? } }
  end

  def lines
    File.readlines(file.path, encoding: "UTF-8").grep_v(/\A#/).map { |line| JSON.parse(line) }
  end

  def payload(jid, **rest)
    JSON.generate({ "class" => hostile, "queue" => hostile, "args" => [], "jid" => jid, "retry" => true,
                    "assured_jobs" => true }.merge(rest.transform_keys(&:to_s)))
  end

  def expect_line(pattern)
    said = -> { lines.map { |line| line["message"] } }
    wait_until("it is logged: #{pattern}\n", within: 20) { said.call.any?(pattern) }
  rescue Wait::TimedOut => e
    raise e.class, "#{e.message}#{said.call.map { |line| line[0, 300] }.join("\n")}"
  end

  # @yield what to wait for
  def expect_fit_lines
    process = start_hostile
    yield
    process.signal(:TERM)
    process.wait_for_exit
    expect(lines.map { |line| line["class"] }.uniq).to eq(["String"])
    expect(lines.map { |line| line["message"] }).to all(satisfy("be fit") { |line| fit?(line) })
  end

  def fit?(line)
    line.start_with?("AssuredJobs: ") && !line.match?(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/) && line.size < 3000
  end

  it "is one line, and short, whatever stands in orphans and in the names of instances" do
    seed_orphans(hostile, hostile => payload(hostile), "poison" => payload("#{hostile}1", assured_recoveries: 1))
    seed_orphans(bytes, bytes => "{no json", "#{bytes}1".b => "")
    redis.del(key("job:").b + bytes + "1".b)
    expect_fit_lines do
      expect_line(/recovered job_class=.*FATAL/)
      expect_line(/instance_died instance_id=.*FATAL/)
      expect_line(/poisoned .*reason=/)
      expect_line(/recovered \d jobs of dead instance x\\nE/)
      expect_line(/orphan .* cannot go back/)
      expect_line(/payload of orphan .* is gone/)
      expect_line(/a handler of recovered raised RuntimeError: x\z/)
    end
  end

  it "is one line, and short, whatever a job is called that lost its lease, and whatever it raises then" do
    expect_fit_lines do
      redis.lpush("queue:default", payload(hostile, class: "HostileJob", queue: "default"))
      wait_until("it runs") { redis.get("journal:hostile") }
      id = registered.first
      redis.multi do |transaction|
        transaction.del(key("jobs:#{id}"), key("job:#{hostile}"))
        transaction.set(key("verdict:#{id}"), "somebody")
      end

      expect_line(/1 running jobs were given to others: x\\nE/)
      expect_line(/lease_lost .*FATAL/)
      expect_line(/job x\\nE.* \(HostileJob\) was given to another process and ended here with RuntimeError: x; no/)
    end
  end

  it "is one line, and short, whatever dies" do
    seed_orphans("dead", "j" => payload(hostile, class: "HostileJob", queue: "default", assured_recoveries: 1))
    expect_fit_lines do
      expect_line(/HostileJob job x\\nE.* is in the Dead set/)
      expect_line(/sidekiq_retries_exhausted of HostileJob raised RuntimeError: x\z/)
    end
  end

  it "has no other way to the log than the one that makes it fit" do
    root = File.expand_path("../..", __dir__)
    ruby = Dir["#{root}/lib/**/*.rb"].reject { |path| path.end_with?("/log.rb") }
    rust = Dir["#{root}/ext/*/src/**/*.rs"].reject { |path| path.end_with?("/events.rs") }

    expect(ruby.select { |path| File.read(path).match?(/logger\.(debug|info|warn|error|fatal|add|public_send)\b/) })
      .to be_empty
    expect(rust.select { |path| File.read(path).match?(/Event::Log\((?!_)|e?println!/) })
      .to eq(["#{root}/ext/sidekiq_assured_jobs/src/engine.rs"]), "where it becomes Ruby's"
  end
end
