# frozen_string_literal: true

require_relative "../support/every_step"

RSpec.describe "A process that is killed at any command it sends" do
  before(:context) do
    @whole, *lives = EveryStep.new.run
    @killed = lives.select(&:killed)
  end

  it "is killed before and after every step of a job's life" do
    steps = ["fetch: fetch", "pipeline: release", "pipeline: due", "pipeline: requeue", "sidekiq: zadd retry",
             "sweep: requeue", "heartbeat: retire"]

    killed = @killed.map { |life| [life.step.name, life.instant] }
    expect(killed).to include(*steps.product(EveryStep::INSTANTS))
  end

  it "loses no job" do
    expect([@whole, *@killed].reject { |life| life.lost.empty? }.map(&:to_s)).to eq([])
  end

  it "has no job run more often than it was interrupted" do
    expect([@whole, *@killed].reject { |life| life.too_often.empty? }.map(&:to_s)).to eq([])
  end

  # The negative control: what Sidekiq's own fetch has popped is nowhere.
  it "loses a job where jobs are not fetched by the engine" do
    life = EveryStep.new(env: { "ASSURED_JOBS_FETCH" => "false" })
                    .run_one(CommandProxy::Step.new("sidekiq: brpop queue:default", 1), :after)

    expect(life).to have_attributes(killed: true, lost: have_attributes(size: 1))
  end
end
