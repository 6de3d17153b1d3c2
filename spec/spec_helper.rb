# frozen_string_literal: true

require "sidekiq"
require "sidekiq-assured-jobs"
require_relative "support/any_sidekiq"
require_relative "support/server_helpers"

Sidekiq.logger.level = Logger::FATAL

RSpec.configure do |config|
  config.disable_monkey_patching!
  config.order = :random
  config.mock_with(:rspec) { |mocks| mocks.verify_partial_doubles = true }
  config.include ServerHelpers
end
