# frozen_string_literal: true

require_relative "../support/fetch_helpers"
require_relative "../support/own_redis"
require "tempfile"

RSpec.describe "Assured fetch and a Redis in trouble", :fetch do
  include_context "with a Redis of its own"

  let(:ran) { Tempfile.new("ran") }

  it "goes on fetching when Redis comes back, whether the process was idle or busy" do
    start_app(url: server.url)
    restart
    push("AssuredJob", "after idle", 0)
    wait_until("it fetches again") { finished.key?("after idle") }

    push("AssuredJob", "long", 2)
    wait_until("it is busy") { started.key?("long") }
    restart
    push("AssuredJob", "after busy", 0)
    wait_until("it fetches again") { finished.key?("after busy") }
    wait_until("the long one ends") { finished.key?("long") }
    wait_until("nothing is in flight") { in_flight.empty? }
    expect(finished).to eq("after busy" => 1, "long" => 1)
  end

  # Jobs that were pushed before the memory was used up, and that need none.
  def fill_up(*classes)
    60.times do |n|
      job_class = classes[n % classes.size]
      push(job_class, ran.path, n, assured_jobs: job_class.start_with?("Assured") || nil)
    end
    redis.config(:set, "maxmemory", 1)
  end

  def expect_drained
    wait_until("the queue is empty") { redis.llen("queue:default").zero? }
    wait_until("all have run") { File.readlines(ran.path).size >= 60 }
    expect(File.readlines(ran.path, chomp: true).map(&:to_i)).to match_array(0...60)
    wait_until("nothing is in flight") { in_flight.empty? }
  end

  it "drains the queues of a Redis that is full" do
    process = start_app(url: server.url)
    process.signal(:STOP)
    fill_up("AssuredFileJob", "FileJob")
    process.signal(:CONT)
    expect_drained
  end

  it "is not alone in that: plain Sidekiq does so" do
    fill_up("FileJob")
    spawn_sidekiq(app: FetchHelpers::PLAIN_APP, url: server.url)
    expect_drained
  end

  it "drains the queues of a Redis that was full when the process booted" do
    fill_up("AssuredFileJob", "FileJob")
    spawn_sidekiq(app: FetchHelpers::APP, url: server.url)
    expect_drained
  end
end
