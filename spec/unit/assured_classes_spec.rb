# frozen_string_literal: true

RSpec.describe Sidekiq::AssuredJobs::AssuredClasses do
  before do
    stub_const("KnownAssured", Class.new do
      include Sidekiq::Worker
      include Sidekiq::AssuredJobs::Worker
    end)
    stub_const("KnownPlain", Class.new { include Sidekiq::Worker })
  end

  it "goes by the flag in the payload first" do
    expect(described_class.assured?("class" => "KnownPlain", "assured_jobs" => true)).to be(true)
    expect(described_class.assured?("class" => "KnownAssured", "assured_jobs" => false)).to be(false)
  end

  it "goes by the class where the flag is neither true nor false" do
    [nil, "true", "no", 1, 0].each do |odd|
      expect(described_class.assured?("class" => "KnownAssured", "assured_jobs" => odd)).to be(true)
      expect(described_class.assured?("class" => "KnownPlain", "assured_jobs" => odd)).to be(false)
    end
  end

  it "goes by the class where there is no flag" do
    expect(described_class.assured?("class" => "KnownAssured")).to be(true)
    expect(described_class.assured?("class" => "KnownPlain")).to be(false)
  end

  it "looks at the class that a wrapper wraps" do
    expect(described_class.assured?("class" => "KnownPlain", "wrapped" => "KnownAssured")).to be(true)
  end

  it "takes a class that does not exist for not assured" do
    expect(described_class.assured?("class" => "No::Such<Class>")).to be(false)
  end
end
