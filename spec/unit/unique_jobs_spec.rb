# frozen_string_literal: true

require_relative "../support/unique_contract"

RSpec.describe Sidekiq::AssuredJobs::UniqueJobs do
  let(:job) do
    { "class" => "X", "args" => [], "queue" => "q", "jid" => "j", "lock_digest" => "uniquejobs:d",
      "lock" => "while_executing", "assured_recoveries" => 0 }
  end

  def dropped?(**settings)
    described_class.dropped?(job.merge!(settings.transform_keys(&:to_s)))
  end

  def holders(lock = "uniquejobs:d:RUN")
    redis.hkeys("#{lock}:LOCKED")
  end

  def locked(jid, lock = "uniquejobs:d:RUN")
    redis.hset("#{lock}:LOCKED", jid, 1)
  end

  before { stub_const("SidekiqUniqueJobs", UniqueContract) }

  describe ".dropped?" do
    it "is false for a job that had not begun, which takes no lock" do
      job.delete("assured_recoveries")

      expect(dropped?).to be(false)
      expect(holders).to be_empty
    end

    it "is true for one that had, which takes the lock that it lacked" do
      expect(dropped?).to be(true)
      expect(holders).to eq(%w[j])
    end

    it "strips the suffix that a runtime lock leaves in the payload" do
      dropped?(lock_digest: "uniquejobs:d:RUN")
      expect(holders).to eq(%w[j])
    end

    it "takes the queue lock of a job that runs with that" do
      dropped?(lock: "until_executed")
      expect(holders("uniquejobs:d")).to eq(%w[j])
      expect(holders).to be_empty
    end

    %w[until_executing a_lock_of_the_application].each do |lock|
      it "takes nothing for #{lock}" do
        expect(dropped?(lock:)).to be(true)
        expect(redis.keys).to be_empty
      end
    end

    it "waits for no lock" do
      expect { dropped?(lock_timeout: 30) }.not_to raise_error
    end

    it "leaves the lock to a duplicate" do
      locked("duplicate")

      expect(dropped?).to be(true)
      expect(holders).to eq(%w[duplicate])
    end

    it "takes the lock where half of it is written, and leaves what others have written" do
      redis.set("uniquejobs:d:RUN", "j")
      redis.lpush("uniquejobs:d:RUN:PRIMED", "j")
      redis.lpush("uniquejobs:d:RUN:QUEUED", %w[other j])

      dropped?
      expect(holders).to eq(%w[j])
      expect(redis.lrange("uniquejobs:d:RUN:QUEUED", 0, -1)).to eq(%w[other])
    end

    [{ on_conflict: "reject" }, { on_conflict: { "client" => "log", "server" => "raise" } },
     { on_conflict: "their_own" }, { on_server_conflict: :reschedule },
     { lock: "while_executing_reject" }].each do |settings|
      it "is false where the application's answer to duplicates has put the job elsewhere (#{settings})" do
        expect(dropped?(**settings)).to be(false)
      end
    end

    [{ on_conflict: "log" }, { on_conflict: { "client" => "reject", "server" => nil } }, { on_conflict: "replace" },
     { on_conflict: "reject", lock: "until_executed" }].each do |settings|
      it "is true where nobody has an answer (#{settings})" do
        expect(dropped?(**settings)).to be(true)
      end
    end

    it "is false where another fetcher keeps books of the job" do
      allow(Sidekiq::AssuredJobs::WayIn).to receive(:foreign_fetcher).and_return(Object.new)
      expect(dropped?).to be(false)
    end

    it "is false without a lock, and without that gem" do
      job.delete("lock_digest")
      expect(dropped?).to be(false)

      hide_const("SidekiqUniqueJobs")
      expect(dropped?(lock_digest: "uniquejobs:d")).to be(false)
    end
  end

  describe ".mark" do
    it "adds what tells that the job had begun, to the bytes as they are" do
      expect(described_class.mark(%({"n":1.50,"a":[{}]}\n))).to eq(%({"n":1.50,"a":[{}],"assured_recoveries":0}))
    end

    it "leaves the count of a job that was recovered" do
      payload = %({"assured_recoveries":2,"jid":"j"})
      expect(described_class.mark(payload)).to eq(payload)
    end
  end

  describe ".release" do
    it "ends what the job itself holds" do
      %w[uniquejobs:d uniquejobs:d:RUN].each { |lock| %w[j other].each { |jid| locked(jid, lock) } }
      described_class.release(job)

      expect(holders + holders("uniquejobs:d")).to eq(%w[other other])
    end
  end

  describe Sidekiq::AssuredJobs::UniqueJobs::Fence do
    let(:locksmith) { Class.new(UniqueContract::Locksmith).prepend(described_class).new(job) }
    let(:lease) { instance_double(Sidekiq::AssuredJobs::Lease, jid: "j", lost?: false, lost_by_now?: false) }
    let(:hand) { instance_double(Sidekiq::AssuredJobs::WorkInHand, lease:, began?: true) }

    before { allow(Sidekiq::AssuredJobs::WorkInHand).to receive(:current).and_return(hand) }

    it "lets a job take and end its locks" do
      expect(locksmith.lock).to eq("j")
      expect(locksmith.unlock).to eq("j")
      expect(holders("uniquejobs:d")).to be_empty
    end

    it "lets a job pass that has lost its queue lock before it begins, and tells the truth afterwards" do
      allow(hand).to receive(:began?).and_return(false, false, true)

      expect(locksmith.unlock).to eq("j")
      expect(locksmith.unlock).to be_nil
    end

    it "lets an attempt that has lost its lease neither end a lock nor take one" do
      locked("j", "uniquejobs:d")
      allow(lease).to receive(:lost_by_now?).and_return(true)
      expect(locksmith.unlock).to be_nil
      expect(holders("uniquejobs:d")).to eq(%w[j])

      redis.flushall
      expect(locksmith.lock(wait: 2)).to be_nil
      expect(redis.keys).to be_empty
    end

    it "lets a forked child end none of its parent's locks" do
      locked("j", "uniquejobs:d")
      allow(lease).to receive(:lost_by_now?).and_raise(Sidekiq::AssuredJobs::ForkError)
      locksmith.unlock

      expect(holders("uniquejobs:d")).to eq(%w[j])
    end

    it "has nothing to do with other jobs, which a job may push or run" do
      allow(lease).to receive_messages(jid: "pusher", lost_by_now?: true)
      expect(locksmith.lock).to eq("j")
      expect(locksmith.unlock).to eq("j")
    end

    it "has nothing to do with threads that run no job" do
      allow(Sidekiq::AssuredJobs::WorkInHand).to receive(:current).and_return(nil)
      expect(locksmith.lock).to eq("j")
    end
  end
end
