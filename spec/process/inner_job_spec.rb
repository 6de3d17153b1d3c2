# frozen_string_literal: true

RSpec.describe "A job that runs inside another one, as with perform_inline" do
  { "assured fetch" => "true", "the middleware" => "false" }.each do |way, fetch|
    it "comes back with the other one, and not once more by itself (#{way})" do
      env = { "ASSURED_JOBS_FETCH" => fetch }
      victim = start_sidekiq(env:)
      outer = push("OuterJob", "inner", 2)
      wait_until("the inner one runs") { started == { "outer" => 1, "inner" => 1 } }
      expect(in_flight).to eq([outer])
      victim.kill
      start_sidekiq(env:)

      wait_until("both are finished") { finished == { "outer" => 1, "inner" => 1 } && in_flight.empty? }
      expect(queued).to be_empty
      expect(started).to eq("outer" => 2, "inner" => 2)
    end
  end
end
