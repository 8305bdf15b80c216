"""Runs in .venv-bench: crawls what lies under a URL's folder with Scrapy and prints its figures as one line of JSON.

python scrapy_spider.py URL CONCURRENCY
"""

import json
import re
import resource
import sys

from scrapy import Request
from scrapy.crawler import CrawlerProcess
from scrapy.linkextractors import LinkExtractor
from scrapy.spiders import CrawlSpider, Rule

URL, CONCURRENCY = sys.argv[1], int(sys.argv[2])


class Spider(CrawlSpider):
    """Follows every link under the start URL, its own among them, and keeps nothing of a page but its size."""

    name = "bench"
    rules = (Rule(LinkExtractor(allow=re.escape(URL.rpartition("/")[0] + "/")), callback="page", follow=True),)
    pages, bytes = 0, 0

    async def start(self):
        yield Request(URL)

    def parse_start_url(self, response, **_):
        return self.page(response)

    def page(self, response):
        Spider.pages += 1
        Spider.bytes += len(response.body)


process = CrawlerProcess(
    {
        "ROBOTSTXT_OBEY": True,
        "CONCURRENT_REQUESTS": CONCURRENCY,
        "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENCY,
        "DOWNLOAD_DELAY": 0,
        "LOG_LEVEL": "ERROR",
        "TELNETCONSOLE_ENABLED": False,
        "USER_AGENT": "Headrace-bench (Scrapy)",
    }
)
crawler = process.create_crawler(Spider)
process.crawl(crawler)
before = resource.getrusage(resource.RUSAGE_SELF)
process.start()
used = resource.getrusage(resource.RUSAGE_SELF)
print(
    json.dumps(
        {
            "pages": Spider.pages,
            "bytes": Spider.bytes,
            "seconds": crawler.stats.get_value("elapsed_time_seconds"),
            "cpu_s": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
            "rss_mb": used.ru_maxrss / 1024,
        }
    )
)
