# frozen_string_literal: true

# A process with a life of its own that embeds a Sidekiq. USR1 ends the Sidekiq, and not the process; the next one
# begins it again.

$stdout.sync = true
require_relative "app"

stops, signals = IO.pipe
trap("USR1") { signals.write(".") }

sidekiq = Sidekiq.configure_embed do |config|
  config.queues = ["default"]
  config.concurrency = 2
  config[:timeout] = 1
end
loop do
  sidekiq.run
  stops.getc
  sidekiq.stop
  puts "The embedded Sidekiq has ended"
  stops.getc
end
