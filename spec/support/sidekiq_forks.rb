# frozen_string_literal: true

require "json"
require "rbconfig"
require "tempfile"
require_relative "sidekiq_process"
require_relative "wait"

# Sidekiq processes that are there within a tenth of a second, see `forked_sidekiq.rb`.
class SidekiqForks
  # One of these processes.
  class Fork
    # @return [Integer]
    attr_reader :pid

    # @param pid [Integer]
    # @param log [Tempfile]
    def initialize(pid, log)
      @pid = pid
      @log = log
    end

    # @param name [Symbol]
    # @return [void]
    def signal(name)
      Process.kill(name, pid)
    rescue Errno::ESRCH
      # It has ended.
    end

    # @return [Boolean]
    def alive?
      !Process.kill(0, pid).nil?
    rescue Errno::ESRCH
      false
    end

    # @return [void]
    def kill
      signal(:KILL)
      Wait.wait_until("sidekiq #{pid} ends") { !alive? }
    end

    # @return [String]
    def log
      File.read(@log.path, encoding: "UTF-8").scrub
    end
  end

  def initialize
    root = SidekiqProcess::ROOT
    @io = IO.popen([{ "RUBYOPT" => nil }, RbConfig.ruby, "-I#{root}/lib", "-rbundler/setup",
                    File.expand_path("forked_sidekiq.rb", __dir__), { chdir: root }], "r+")
    @mutex = Mutex.new
  end

  # @param env [Hash{String => String}]
  # @param args [Array<String>] arguments of the `sidekiq` command
  # @return [Fork]
  def start(env, args)
    log = Tempfile.new("sidekiq")
    pid = @mutex.synchronize do
      @io.puts(JSON.generate(env:, args:, log: log.path))
      @io.gets
    end
    Fork.new(Integer(pid), log)
  end

  # Ends all processes.
  #
  # @return [void]
  def close
    @io.close
  end
end
