# frozen_string_literal: true

require "json"
require "rbconfig"

# A process that pushes jobs of `unique_app.rb`, as the web process of an application does. Run as a script, this
# file is that process.
class UniqueClient
  # @param redis_url [String]
  def initialize(redis_url)
    @pipe = IO.popen(
      [{ "REDIS_URL" => redis_url, "RUBYOPT" => nil }, RbConfig.ruby, "-I#{SidekiqProcess::ROOT}/lib",
       "-rbundler/setup", __FILE__], "r+", chdir: SidekiqProcess::ROOT
    )
  end

  # @return [String, nil] jid; nil where the job was refused
  def push(job_class, *args)
    ask("push", job_class, *args)
  end

  # Deletes the locks of all jobs, as the reaper of that gem does it with locks that it takes for orphans.
  def reap
    ask("reap")
  end

  # Has the reaper of that gem look, which deletes what it takes for orphans, whatever their age.
  def look
    ask("look")
  end

  # @return [String] version of the gem
  def version
    ask("version")
  end

  def close
    @pipe.close
  end

  private

  def ask(*question)
    @pipe.puts(JSON.generate(question))
    answer = JSON.parse(@pipe.gets || raise("the client ended"))
    raise answer["error"] if answer["error"]

    answer["answer"]
  end
end

if $PROGRAM_NAME == __FILE__
  # Answers alone go to the standard output, and no log lines.
  output = $stdout.dup
  $stdout.reopen(IO::NULL)
  require_relative "unique_app"

  answers = {
    "push" => ->(job_class, *args) { Object.const_get(job_class).perform_async(*args) },
    "reap" => lambda do
      digests = SidekiqUniqueJobs::Digests
      digests.respond_to?(:new) ? digests.new.delete_by_pattern("*") : digests.delete_by_pattern("*")
      nil
    end,
    "look" => lambda do
      reaper = Class.new(SidekiqUniqueJobs::Orphans::RubyReaper) { define_method(:max_score) { Time.now.to_f } }
      Sidekiq.redis { |redis| reaper.new(redis).call }
      nil
    end,
    "version" => -> { SidekiqUniqueJobs::VERSION }
  }
  $stdin.each_line do |line|
    question, *details = JSON.parse(line)
    begin
      output.puts JSON.generate("answer" => answers.fetch(question).call(*details))
    rescue StandardError => e
      output.puts JSON.generate("error" => "#{e.class}: #{e.message}")
    end
    output.flush
  end
end
