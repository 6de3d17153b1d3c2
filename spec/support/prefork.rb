# frozen_string_literal: true

# Loaded by a `sidekiq` process that then forks, as sidekiqswarm does: the application is loaded once, in the
# parent, and each child runs a Sidekiq of its own.

require_relative "app"

children = Array.new(3) do
  fork do
    cli = Sidekiq::CLI.instance
    cli.parse(["-r", File.expand_path("app.rb", __dir__), "-c", "1"])
    cli.run
  end
end

%i[TERM INT].each { |signal| trap(signal) { children.each { |pid| Process.kill(signal, pid) } } }
Process.waitall
exit!
