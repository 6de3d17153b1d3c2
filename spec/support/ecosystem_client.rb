# frozen_string_literal: true

# A process of `ecosystem_app.rb` that pushes. It answers each line with the number of a first job by a line, once
# that job and those after it are in their queue.

# Answers alone go to the standard output, and no log lines.
output = $stdout.dup
$stdout.reopen(IO::NULL)
require_relative "ecosystem_app"

def push_all(keys)
  keys.each { |key| EcosystemJob.perform_async(key) }
end

def push_batch(keys)
  batch = Sidekiq::Batch.new
  batch.on(:success, BatchCallback, "batch" => "batch-#{keys.first}")
  batch.jobs { push_all(keys) }
end

def push_group(keys)
  keys.each { |key| GroupedJob.perform_async(key) }
  batches = Sidekiq::Grouping::Batch.all
  sleep 0.05 until batches.each(&:flush).all? { |batch| batch.size.zero? }
end

$stdin.each_line do |line|
  keys = Array.new(Ecosystem::SLICE) { |number| Integer(line) + number }
  groups, singles = keys.partition { |key| Ecosystem.with?("grouping") && key.odd? }
  Ecosystem.with?("batch") ? push_batch(singles) : push_all(singles)
  push_group(groups) if groups.any?
  output.puts line
  output.flush
end
