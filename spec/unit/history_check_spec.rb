# frozen_string_literal: true

require "tempfile"
require_relative "../support/history_check"

RSpec.describe HistoryCheck do
  # Events a tenth of a second apart: `process kind subject`, or a number of seconds that pass.
  def check(*lines, **options)
    at = 0.0
    events = lines.filter_map do |line|
      at += line.match?(/\A\d/) ? line.to_f : 0.1
      process, kind, subject = line.split
      History::Event.new(at, process, kind.to_sym, subject) if kind
    end
    described_class.new(events, **options)
  end

  it "finds jobs that are nowhere, and knows those that are somewhere" do
    jobs = %w[done queued buried begun never].map { |job| "w accepted #{job}" }
    judged = check(*jobs, "a started done", "a finished done", "a started begun", pending: %w[queued], dead: %w[buried])

    expect(judged).to have_attributes(lost: %w[begun never], lost_after_start: %w[begun])
    expect(judged.to_s).to include("5 accepted", "2 lost", "job begun")
  end

  it "does not miss jobs that were never accepted" do
    expect(check("w offered x").lost).to be_empty
  end

  it "knows what a Redis that lost data took along" do
    empty = ["Emptied struck everybody", "Emptied healed everybody"]
    judged = check("w accepted queued", "w accepted begun", "a started begun", "w accepted orphan", "b started orphan",
                   *empty, "Killed struck b", "3", "w accepted later", "Killed struck a")

    expect(judged.lost).to eq(%w[queued begun orphan later])
    expect(judged.lost_by_redis).to eq(%w[queued orphan])
  end

  it "tells the story of a job" do
    told = check("w accepted x", "a started x", "Killed struck a", "b started x", "b finished x", "w accepted y")

    expect(told.story("x").lines.map(&:split)).to eq(
      [%w[0.000 accepted by w], %w[0.100 started by a], %w[0.200 Killed strikes a], %w[0.300 started by b],
       %w[0.400 finished by b]]
    )
  end

  it "tells runs again that a fault caused from those after an exception" do
    runs = ["a started x", "a raised x", "a started x", "a finished x", "a started y", "Killed struck a", "b started y"]
    expect(check(*runs)).to have_attributes(repeated: %w[x y], repeated_by_faults: %w[y])
  end

  it "takes a second run without any reason for a mistake" do
    expect(check("a started x", "a finished x", "b started x").unexplained).to eq(%w[x])
    expect(check("a started x", "b started x").unexplained).to eq(%w[x])
  end

  it "lets a job run again that raised, once" do
    runs = ["a started x", "a raised x", "a started x", "a finished x"]
    expect(check(*runs).unexplained).to be_empty
    expect(check(*runs, "a started x").unexplained).to eq(%w[x])
  end

  it "lets a job run again whose process was struck while it was in hand, once" do
    runs = ["a started x", "Killed struck a", "Killed healed a", "b started x", "b finished x"]
    expect(check(*runs).unexplained).to be_empty
    expect(check(*runs, "b started x").unexplained).to eq(%w[x])
  end

  it "knows that a process may have fetched a job before it stood still, and begin it late" do
    late = ["Paused struck a", "5", "b started x", "b finished x", "Paused healed a", "a started x", "a finished x"]
    expect(check(*late).unexplained).to be_empty
    expect(check(*late, "b started x").unexplained).to eq(%w[x])
  end

  it "does not take a fault for a reason that struck another process, or another time" do
    expect(check("a started x", "Killed struck b", "Killed healed b", "b started x").unexplained).to eq(%w[x])
    expect(check("Paused struck a", "Paused healed a", "2", "a started x", "a finished x", "b started x").unexplained)
      .to eq(%w[x])
    expect(check("a started x", "a finished x", "2", "Killed struck a", "b started x").unexplained).to eq(%w[x])
  end

  it "takes an outage for no reason, but knows that releases wait for its end" do
    away = ["a started x", "Away struck nobody", "a finished x", "2"]
    expect(check(*away, "Away healed nobody", "b started x").unexplained).to eq(%w[x])
    expect(check(*away, "Killed struck a", "Away healed nobody", "b started x").unexplained).to be_empty
  end

  it "takes lost data for a reason for everybody" do
    expect(check("a started x", "Failover struck everybody", "a finished x", "Failover healed everybody",
                 "b started x").unexplained).to be_empty
  end

  it "lets a job run twice more that raised while Redis was away" do
    runs = ["Away struck nobody", "a started x", "a raised x", "Away healed nobody", "a started x", "b started x"]
    expect(check(*runs).unexplained).to be_empty
    expect(check(*runs, "b started x").unexplained).to eq(%w[x])
  end

  it "reads what several processes have written into one file" do
    Tempfile.create("history") do |file|
      writers = %w[a b].map { |name| History.new(file.path, name) }
      threads = writers.map { |writer| Thread.new { 500.times { |n| writer.write(:started, n) } } }
      threads.each(&:join)

      expect(writers.first.subjects(:started, "b")).to eq((0...500).map(&:to_s))
      expect(writers.first.events.map(&:at)).to all(be > 0)
    end
  end
end
