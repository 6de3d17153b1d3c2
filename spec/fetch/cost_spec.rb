# frozen_string_literal: true

require_relative "../support/fetch_helpers"

RSpec.describe "What assured fetch records", :fetch do
  it "is jobs that are assured, and no others, while they run" do
    start_app(args: ["-c", "10"])
    push("PlainJob", "plain", 2)
    push_raw('{"class":"WrapperJob","args":["text",2],"jid":"text","note":{"assured_jobs":true}}')
    assured = push("AssuredJob", "flag", 2)
    by_class = push("AssuredJob", "class", 2, assured_jobs: nil)
    wrapped = push("WrapperJob", "wrapped", 2, assured_jobs: nil, wrapped: "AssuredJob")
    push("WrapperJob", "wrapped plain", 2, assured_jobs: nil, wrapped: "PlainJob")
    wait_until("all run") { started.size == 6 }

    wait_until("the assured ones are in flight, and no others") { in_flight.sort == [assured, by_class, wrapped].sort }
    expect(finished).to be_empty
    wait_until("all are finished") { finished.size == 6 }
    wait_until("nothing is in flight") { in_flight.empty? }
  end

  it "is a job from the moment that it is popped" do
    push_raw('{"class":"X","args":[],"jid":"j","queue":"default","assured_jobs":true}')
    unit = fetcher(["default"]).retrieve_work

    expect(in_flight).to eq(["j"])
    expect(redis.get(key("job:j"))).to eq(unit.job)
    unit.acknowledge
    wait_until("it is released") { own_keys.none? { |name| name.start_with?(key("job")) } }
    expect(raw_queue).to be_empty
  end

  # What says nothing goes by its class, which the middleware knows: see the first example.
  it "is nothing where the flag stands in the arguments alone, and the payload says the contrary" do
    push_raw('{"class":"X","args":[{"assured_jobs":true}],"jid":"j","assured_jobs":false}')
    unit = fetcher(["default"]).retrieve_work

    expect(unit.attempt).to be_nil
    wait_until("its record is gone") { in_flight.empty? }
  end
end
