# frozen_string_literal: true

RSpec.describe Sidekiq::AssuredJobs::Worker do
  def job_class(&)
    Class.new(&)
  end

  it "sets the option, whether it comes after or before Sidekiq's own module" do
    after = job_class { include(Sidekiq::Worker).include(Sidekiq::AssuredJobs::Worker) }
    before = job_class { include(Sidekiq::AssuredJobs::Worker).include(Sidekiq::Worker) }

    expect([after, before].map(&:get_sidekiq_options)).to all(include("assured_jobs" => true, "queue" => "default"))
  end

  it "works beside Sidekiq::Worker, and is inherited" do
    parent = job_class do
      include Sidekiq::Worker
      include Sidekiq::AssuredJobs::Worker
      sidekiq_options queue: "low"
    end

    expect(Class.new(parent).get_sidekiq_options).to include("assured_jobs" => true, "queue" => "low")
  end

  it "leaves other classes alone" do
    expect(job_class { include Sidekiq::Worker }.get_sidekiq_options).not_to have_key("assured_jobs")
  end

  it "can be taken back" do
    klass = job_class do
      include Sidekiq::Worker
      include Sidekiq::AssuredJobs::Worker
      sidekiq_options assured_jobs: false
    end

    expect(klass.get_sidekiq_options).to include("assured_jobs" => false)
  end

  it "puts the flag into payloads" do
    stub_const("Flagged", Class.new do
      include Sidekiq::Worker
      include Sidekiq::AssuredJobs::Worker
    end)
    Flagged.perform_async(1)

    expect(queued.first).to include("assured_jobs" => true, "class" => "Flagged")
  end
end
