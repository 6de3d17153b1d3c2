# frozen_string_literal: true

# What all benchmarks share: the bundle, options, figures.

ENV["BUNDLE_GEMFILE"] ||= File.expand_path("../../Gemfile", __dir__)
require "bundler/setup"
require "json"
require "optparse"
require "redis"
require "sidekiq"
require_relative "../../spec/support/redis_server"
require_relative "../../spec/support/sidekiq_process"

Sidekiq.logger.level = Logger::WARN

module Bench
  NAMESPACE = "sidekiq_assured_jobs"
  KINDS = { Integer => ["N", Integer], Array => ["N,N", Array] }.freeze

  module_function

  # @param banner [String] what the benchmark measures
  # @param defaults [Hash{Symbol => Object}] options and their default values: a number, a list of numbers, or false
  #   for a flag
  # @param help [Hash{Symbol => String}] a line on each option
  # @yieldparam parser [OptionParser] for options of another kind
  # @yieldparam given [Hash] where these go
  # @return [Hash{Symbol => Object}]
  def options(banner, defaults, help)
    given = defaults.dup
    OptionParser.new do |parser|
      parser.banner = "Usage: bench/#{File.basename($PROGRAM_NAME)} [options]\n\n#{banner}\n\n"
      defaults.each do |name, value|
        placeholder, type = KINDS[value.class]
        flag = "--#{name.to_s.tr("_", "-")} #{placeholder}".strip
        parser.on(flag, *type, describe(help.fetch(name), value)) { |v| given[name] = numbers(v) }
      end
      yield parser, given if block_given?
    end.parse!
    given
  end

  def numbers(value)
    value.is_a?(Array) ? value.map { |text| Integer(text) } : value
  end

  def describe(text, default)
    default == [] ? text : "#{text} (default: #{Array(default).join(",")})"
  end

  # @yieldparam server [RedisServer] a private one, gone after the block
  def with_redis(*options)
    server = RedisServer.new(*options)
    yield server
  ensure
    server&.remove
  end

  # @param variants [Array]
  # @param round [Integer]
  # @return [Array] the variants in this round's order, so that none is always first
  def in_turn(variants, round)
    variants.rotate(round)
  end

  def median(figures)
    sorted = figures.sort
    middle = sorted.size / 2
    sorted.size.odd? ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2.0
  end

  # @param figures [Array<Numeric>]
  # @param digits [Integer] after the point
  # @return [String] median, minimum and maximum
  def spread(figures, digits)
    middle, least, most = [median(figures), *figures.minmax].map { |figure| fixed(figure, digits) }
    "#{middle} (#{least}–#{most})"
  end

  # @return [String] the figure with exactly so many digits after the point
  def fixed(figure, digits)
    format("%.#{digits}f", figure)
  end

  # Prints whether a bound is met.
  #
  # @return [Boolean]
  def bound(text, met)
    puts "#{met ? "met   " : "MISSED"}  #{text}"
    met
  end

  # @param redis [Redis]
  # @return [Float] processor seconds that this Redis has used
  def cpu_of(redis)
    redis.info("cpu").values_at("used_cpu_user", "used_cpu_sys").sum(&:to_f)
  end
end
