-- What consumers have told that they listen to, and when that was noted last: the beginnings of subjects. Spares, which may confirm for
-- every primary of their group, have no name here. Who was served before anybody told that listens to everything.
CREATE TABLE consumer_topics (
    client         TEXT NOT NULL,
    consumer_group TEXT NOT NULL,
    topic          TEXT NOT NULL,
    time           REAL NOT NULL,
    PRIMARY KEY (client, consumer_group, topic)
) STRICT, WITHOUT ROWID;
INSERT INTO consumer_topics (client, consumer_group, topic, time)
SELECT client, consumer_group, '', max(time) FROM (
    SELECT CASE WHEN spare THEN '' ELSE client END AS client, consumer_group, time FROM transfers
    WHERE consumer_group <> '' AND state IN ('moved', 'acknowledged')
    UNION ALL SELECT client, consumer_group, time FROM consumers)
GROUP BY client, consumer_group;
