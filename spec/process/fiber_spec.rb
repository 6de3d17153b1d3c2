# frozen_string_literal: true

RSpec.describe "A job that runs in a fiber" do
  let(:app) { File.expand_path("../support/fiber_app.rb", __dir__) }

  { "assured fetch" => "true", "the middleware" => "false" }.each do |way, fetch|
    it "is tracked once (#{way}), and its retry is stored" do
      start_sidekiq(app:, env: { "ASSURED_JOBS_FETCH" => fetch })
      jid = push("AssuredJob", "a", 3)
      push("FailingJob", "b")
      wait_until("both have begun") { started.keys.sort == %w[a b] }

      wait_until("the other one is released") { in_flight.size == 1 }
      expect(in_flight).to eq([jid])
      wait_until("it is finished") { finished == { "a" => 1 } }
      wait_until("nothing is in flight") { in_flight.empty? }
      expect(redis.zcard("retry")).to eq(1)
    end
  end
end
