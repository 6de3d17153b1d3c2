# frozen_string_literal: true

# The live demo; `bin/demo` makes the machine ready and calls it.

# Settings of the person's own application are not meant for the demo.
ENV.delete_if { |name, _| name.start_with?("ASSURED_JOBS_") }

require_relative "interrupts"

interrupts = Interrupts.new
view = store = scenario = failure = nil
begin
  require "securerandom"
  require_relative "lines"
  require_relative "scenario"
  require_relative "screen"
  require_relative "store"

  ENV["ASSURED_JOBS_NS"] = "assured_demo_#{SecureRandom.hex(4)}"
  view = Screen.fits?($stdout) ? Screen.new($stdout) : Lines.new($stdout)
  interrupts.defer { store = Store.open(ENV.fetch("REDIS_URL", nil)) }
  interrupts.check
  ENV["REDIS_URL"] = store.url
  require_relative "app"
  Sidekiq.logger.level = Logger::FATAL
  AnySidekiq.redis = { url: store.url }

  scenario = Scenario.new(view, interrupts)
  scenario.run
rescue SignalException => e
  failure = "interrupted"
  status = 128 + e.signo
rescue StandardError => e
  failure = e.message
  status = 1
ensure
  interrupts.ignore
  view&.close
  begin
    scenario&.scene&.instances&.each(&:kill)
  ensure
    store&.clean_up(scenario&.scene)
  end
end

if failure
  warn "bin/demo: #{failure}"
  exit status
end
tally = scenario.scene.tally
puts "", tally
exit tally.lost.zero?
