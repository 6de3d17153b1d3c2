# frozen_string_literal: true

# Forks Sidekiq processes off one that has loaded Sidekiq and the gem already, because a boot takes longer than what
# is to be seen in it. Reads one order a line (JSON: env, args, log), answers with the pid.

require "json"
require "sidekiq/cli"
require "sidekiq-assured-jobs"

$stdout.sync = true
children = []
while (line = $stdin.gets)
  order = JSON.parse(line)
  pid = fork do
    $stdin.reopen(File::NULL)
    $stdout.reopen(order["log"], "a")
    $stderr.reopen($stdout)
    ENV.update(order["env"])
    cli = Sidekiq::CLI.instance
    cli.parse(order["args"])
    cli.run
  end
  children << Process.detach(pid)
  puts pid
end
children.select(&:alive?).each do |child|
  Process.kill(:KILL, child.pid)
rescue Errno::ESRCH
  # It has just ended.
end
children.each(&:join)
