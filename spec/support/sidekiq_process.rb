# frozen_string_literal: true

require "rbconfig"
require "tempfile"
require_relative "wait"

# A real Sidekiq process that runs `app.rb`.
class SidekiqProcess
  ROOT = File.expand_path("../..", __dir__)
  APP = File.expand_path("app.rb", __dir__)

  attr_reader :pid

  # @param redis_url [String]
  # @param env [Hash{String => String}] settings of the gem
  # @param args [Array<String>] arguments of the `sidekiq` command
  # @param app [String] file with the jobs, for the `-r` of the `sidekiq` command
  # @param script [String, nil] Ruby program that runs a Sidekiq itself, in the place of the `sidekiq` command
  def initialize(redis_url, env: {}, args: [], app: APP, script: nil)
    command = script ? [script] : ["-S", "sidekiq", "-r", app, *args]
    @log = Tempfile.new("sidekiq")
    @pid = Process.spawn(
      { "REDIS_URL" => redis_url, "RUBYOPT" => nil, "MALLOC_ARENA_MAX" => "2" }.merge(env),
      RbConfig.ruby, "-I#{ROOT}/lib", "-rbundler/setup", *command,
      chdir: ROOT, %i[out err] => @log.path
    )
  end

  def wait_until_ready(within: 20)
    wait_until("is ready", within) do
      raise "sidekiq #{pid} ended at boot:\n#{log}" unless alive?

      log.match?(/AssuredJobs: instance .* started/m) && log.include?("AssuredJobs: jobs are tracked by")
    end
    self
  end

  def signal(name)
    Process.kill(name, pid)
  end

  # Ends the process like a crash does, and waits until it is gone.
  def kill
    signal(:KILL) if alive?
    wait_for_exit
  end

  # @return [Process::Status]
  def wait_for_exit(within: 30)
    wait_until("ends", within) { !alive? }
    @status
  end

  def alive?
    return false if @status

    _, @status = Process.wait2(pid, Process::WNOHANG)
    @status.nil?
  end

  def log
    # Whatever the locale of the machine: names and backtraces hold other characters.
    File.read(@log.path, encoding: "UTF-8").scrub
  end

  private

  def wait_until(what, within, &)
    Wait.wait_until("sidekiq #{pid} #{what}", within:, &)
  rescue Wait::TimedOut => e
    raise e.class, "#{e.message}\n#{log}"
  end
end
