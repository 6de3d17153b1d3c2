# frozen_string_literal: true

# Gems that many applications have beside Sidekiq, found on the folders of ECOSYSTEM_PATH.
module Ecosystem
  # Name, in Ruby, to what is required.
  FILES = {
    "cron" => "sidekiq-cron", "status" => "sidekiq-status", "failures" => "sidekiq-failures",
    "batch" => "sidekiq/batch", "throttled" => "sidekiq/throttled", "limit_fetch" => "sidekiq-limit_fetch",
    "grouping" => "sidekiq/grouping", "scheduler" => "sidekiq-scheduler", "alive" => "sidekiq_alive"
  }.freeze

  # Jobs of a push, half of which go through sidekiq-grouping where it is there.
  SLICE = 100

  module_function

  # @return [Array<String>] folders
  def paths
    ENV.fetch("ECOSYSTEM_PATH", "").split(":")
  end

  # @param file [String] as it is required
  # @return [Boolean]
  def file?(file)
    paths.any? { |path| File.exist?("#{path}/#{file}.rb") }
  end

  # @return [Array<String>] names of the gems that are there
  def present
    FILES.select { |_, file| file?(file) }.keys
  end

  # @param name [String]
  # @return [Boolean] whether this application has the gem
  def with?(name)
    ENV.fetch("ECOSYSTEM_GEMS").split(",").include?(name)
  end

  # @return [void]
  def load
    paths.reverse_each { |path| $LOAD_PATH.unshift(path) }
    FILES.each { |name, file| require file if with?(name) }
  end
end
